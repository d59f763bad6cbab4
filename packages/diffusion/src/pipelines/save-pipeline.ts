import { writeFileAtomic } from '@alignprop/autograd-ext/weights';
import type { CLIPTokenizer } from '../clip/tokenizer.js';
import { saveModel } from '../models/save-model.js';
import type { StableDiffusionParts } from './load-parts.js';

/** The version of diffusers whose files these are like. */
const DIFFUSERS_VERSION = '0.35.0';

/**
 * Writes a pipeline as `save_pretrained` of diffusers does: a folder that diffusers and `fromPretrained` load. Weights
 * that are still in files keep their number format.
 * @param parts a pipeline
 * @throws if a matrix has an adapter, or the folder cannot be written
 */
export async function savePipeline(folder: string, parts: StableDiffusionParts): Promise<void> {
  const { unet, vae, textEncoder, textEncoder2, tokenizer, tokenizer2, scheduler } = parts;
  const vaeClass = 'num_decoder_blocks' in vae.config ? 'AutoencoderTiny' : 'AutoencoderKL';
  await saveModel(`${folder}/unet`, 'UNet2DConditionModel', unet);
  await saveModel(`${folder}/vae`, vaeClass, vae);
  await saveModel(`${folder}/text_encoder`, 'CLIPTextModel', textEncoder);
  await saveTokenizer(`${folder}/tokenizer`, tokenizer);
  if (textEncoder2) await saveModel(`${folder}/text_encoder_2`, 'CLIPTextModelWithProjection', textEncoder2);
  if (tokenizer2) await saveTokenizer(`${folder}/tokenizer_2`, tokenizer2);
  const { _use_default_values: _, ...config } = scheduler.config;
  await writeJson(`${folder}/scheduler/scheduler_config.json`, { ...config, _diffusers_version: DIFFUSERS_VERSION });
  await writeJson(`${folder}/model_index.json`, {
    _class_name: textEncoder2 ? 'StableDiffusionXLPipeline' : 'StableDiffusionPipeline',
    _diffusers_version: DIFFUSERS_VERSION,
    scheduler: ['diffusers', config._class_name],
    text_encoder: ['transformers', 'CLIPTextModel'],
    tokenizer: ['transformers', 'CLIPTokenizer'],
    unet: ['diffusers', 'UNet2DConditionModel'],
    vae: ['diffusers', vaeClass],
    feature_extractor: [null, null],
    image_encoder: [null, null],
    ...(textEncoder2
      ? {
          text_encoder_2: ['transformers', 'CLIPTextModelWithProjection'],
          tokenizer_2: ['transformers', 'CLIPTokenizer'],
          force_zeros_for_empty_prompt: parts.forceZerosForEmptyPrompt ?? true,
        }
      : { safety_checker: [null, null], requires_safety_checker: false }),
  });
}

/** Writes the files of transformers' `CLIPTokenizer`. */
async function saveTokenizer(folder: string, tokenizer: CLIPTokenizer): Promise<void> {
  const { vocab, merges, addedTokens, unknown } = tokenizer.files;
  const named = {
    bos_token: tokenizer.token(tokenizer.bosTokenId)!,
    eos_token: tokenizer.token(tokenizer.eosTokenId)!,
    pad_token: tokenizer.token(tokenizer.padTokenId)!,
    unk_token: unknown,
  };
  const decoder = addedTokens.map(({ id, ...token }) => [id, token] as const);
  await writeJson(`${folder}/vocab.json`, Object.fromEntries(vocab));
  await writeText(`${folder}/merges.txt`, ['#version: 0.2', ...merges, ''].join('\n'));
  await writeJson(`${folder}/tokenizer_config.json`, {
    ...named,
    added_tokens_decoder: Object.fromEntries(decoder),
    do_lower_case: true,
    errors: 'replace',
    model_max_length: tokenizer.modelMaxLength,
    tokenizer_class: 'CLIPTokenizer',
  });
  await writeJson(`${folder}/special_tokens_map.json`, named);
}

const writeJson = (path: string, value: object): Promise<void> =>
  writeText(path, `${JSON.stringify(value, null, 2)}\n`);

const writeText = (path: string, text: string): Promise<void> =>
  writeFileAtomic(path, new TextEncoder().encode(text)) as Promise<void>;
