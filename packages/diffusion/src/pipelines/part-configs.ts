import { readJson, type FileSource } from '@alignprop/autograd-ext/weights';
import { excerptJson, table } from '@alignprop/autograd-ext/outside';
import { clipTextConfig } from '../clip/clip-config.js';
import { autoencoders } from '../models/autoencoder.js';
import { checkChannels } from '../models/unet-channels.js';
import { unet2DConditionConfig, type UNet2DConditionConfig } from '../models/unet-2d-condition-config.js';
import type { ConfigInput } from '../models/model-config.js';
import type { StableDiffusionParts } from './load-parts.js';
import { autoencoderOf, isXL, type ModelIndex } from './model-index.js';

/** The numbers of the parts' configs that have to fit. */
interface Sizes {
  readonly unet: Pick<
    UNet2DConditionConfig,
    | 'in_channels'
    | 'out_channels'
    | 'cross_attention_dim'
    | 'addition_embed_type'
    | 'addition_time_embed_dim'
    | 'projection_class_embeddings_input_dim'
  >;
  readonly vae: { readonly latent_channels: number };
  readonly textEncoder: { readonly hidden_size: number };
  readonly textEncoder2?: { readonly hidden_size: number; readonly projection_dim: number };
}

/**
 * Reads the configs of a pipeline's models and checks that they make up a text-to-image pipeline, before any weights
 * are opened or downloaded.
 * @throws if a config has unsupported values, or the UNet belongs to another kind of pipeline, which it names
 */
export async function checkPartConfigs(source: FileSource, index: ModelIndex): Promise<void> {
  const read = async (part: string) => (await readJson(source, `${part}/config.json`)) as ConfigInput;
  const [unet, vae, text] = [await read('unet'), await read('vae'), await read('text_encoder')];
  const subject = `StableDiffusionPipeline: ${source.location}/unet/config.json`;
  checkKind(subject, unet, (vae.latent_channels as number | undefined) ?? LATENT_CHANNELS);
  checkSizes(subject, {
    unet: unet2DConditionConfig(unet),
    vae: new autoencoders[autoencoderOf(index)](vae, {}).config,
    textEncoder: clipTextConfig(text),
    ...(isXL(index) && { textEncoder2: clipTextConfig(await read('text_encoder_2')) }),
  });
}

const LATENT_CHANNELS = 4;

/** Checks that the parts of a pipeline fit one another. */
export function checkParts({
  tokenizer,
  textEncoder,
  tokenizer2,
  textEncoder2,
  unet,
  vae,
}: StableDiffusionParts): void {
  checkLength(tokenizer.modelMaxLength, textEncoder.config.max_position_embeddings);
  if (tokenizer2 && textEncoder2) checkLength(tokenizer2.modelMaxLength, textEncoder2.config.max_position_embeddings);
  checkSizes('StableDiffusionPipeline: the config of the UNet', {
    unet: unet.config,
    vae: vae.config,
    textEncoder: textEncoder.config,
    textEncoder2: textEncoder2?.config,
  });
}

/**
 * Checks the sizes of the parts.
 * @throws if the UNet's channels are not the VAE's, or it is not as wide as the text encoders
 */
function checkSizes(subject: string, { unet, vae, textEncoder, textEncoder2 }: Sizes): void {
  const { latent_channels: latents } = vae;
  checkChannels(subject, unet.in_channels, latents);
  if (unet.out_channels !== latents)
    throw new Error(
      `${subject}: out_channels got ${unet.out_channels}, expected ${latents}, the VAE's latent_channels. ` +
        'Only UNets that predict one number per latent are supported.',
    );
  const width = textEncoder.hidden_size + (textEncoder2?.hidden_size ?? 0);
  if ([unet.cross_attention_dim].flat().some((dim) => dim !== width))
    throw new Error(
      `${subject}: cross_attention_dim got ${excerptJson(unet.cross_attention_dim)}, ` +
        `expected ${width}, the hidden_size of the text encoder${textEncoder2 ? 's together' : ''}. ` +
        'Take them from the same model.',
    );
  checkAddedWidth(subject, unet, textEncoder2);
}

/** @throws if the UNet takes pooled text of another width than SDXL's second text encoder gives, or without one */
function checkAddedWidth(subject: string, unet: Sizes['unet'], textEncoder2: Sizes['textEncoder2']): void {
  const expected = textEncoder2 && textEncoder2.projection_dim + TIME_IDS * (unet.addition_time_embed_dim ?? 0);
  const got = unet.addition_embed_type === null ? undefined : unet.projection_class_embeddings_input_dim;
  if (got === expected) return;
  throw new Error(
    `${subject}: projection_class_embeddings_input_dim got ${got ?? 'nothing'}, ` +
      `expected ${expected ?? 'nothing'}, the width of the second text encoder's projection and of six sizes. ` +
      'Take the UNet and the text encoders from the same model; the refiner of SDXL is not supported.',
  );
}

/** The number of sizes that SDXL is conditioned on. */
const TIME_IDS = 6;

/** @throws if prompts would have more tokens than the text encoder has positions */
function checkLength(tokens: number, positions: number): void {
  if (tokens <= positions) return;
  throw new Error(
    `StableDiffusionPipeline: the tokenizer's model_max_length got ${tokens}, expected at most ${positions}, the ` +
      "text encoder's max_position_embeddings. Take both from the same model.",
  );
}

/** @throws if the UNet takes other inputs than latents, time and text; names the kind of pipeline that it belongs to */
function checkKind(subject: string, unet: ConfigInput, latents: number): void {
  if (typeof unet.in_channels === 'number') checkChannels(subject, unet.in_channels, latents);
  const [field] = Object.keys(otherKinds).filter((name) => unet[name] !== undefined && unet[name] !== null);
  if (field === undefined) return;
  throw new Error(
    `${subject}: ${field} got ${excerptJson(unet[field])}, expected null: ${otherKinds[field]}. ` +
      'Only text-to-image UNets of Stable Diffusion 1.x, 2.x and XL are supported.',
  );
}

/** The kinds of UNets by the fields that text-to-image UNets leave null. */
const otherKinds = table<string>({
  encoder_hid_dim_type: 'it is a UNet with its own projection of prompts (Kandinsky, DeepFloyd IF, IP-Adapter)',
  class_embed_type: 'it is a UNet with an additional condition (unCLIP, AudioLDM)',
  num_class_embeds: 'it is a UNet with classes or noise levels (upscalers)',
});
