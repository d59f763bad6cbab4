import {
  div,
  reshape,
  slice,
  sub,
  tensor2d,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { linear, checkOptions } from '@alignprop/autograd-ext';
import {
  loadParams,
  openWeightFile,
  readJson,
  resolveSource,
  type FileSource,
  type HubAccess,
  type ParamsSpec,
  hubAccessNames,
} from '@alignprop/autograd-ext/weights';
import { linearSpec, type ConfigInput, type LinearParams } from '@alignprop/diffusion/clip';
import { clipPixels } from '../clip/clip-pixels.js';
import { splitLocation } from '../clip/split-location.js';
import { defineReward, loadReward, type ModelReward } from '../reward.js';
import { BertTokenizer } from './bert-tokenizer.js';
import { blipText, blipTextSpec, type BlipTextParams } from './blip-text.js';
import { blipVision, blipVisionSpec, type BlipVisionParams } from './blip-vision.js';
import { imageRewardConfig, type ImageRewardConfig } from './image-reward-config.js';

/** Locations of the weights and tokenizer of `imageReward`; the options of the hub are used for hub ids. */
export interface ImageRewardOptions extends HubAccess {
  /**
   * A folder or a hub id, each optionally followed by `/file`, or a file source. It has `ImageReward.pt` (or
   * `.safetensors`) and `med_config.json`.
   */
  readonly weights?: string | FileSource;
  /** A folder, hub id or file source with the `vocab.txt` of uncased BERT. */
  readonly tokenizer?: string | FileSource;
  /**
   * Attention heads of the image encoder, which the files do not contain. By default its width / 64, as in all
   * published ViTs.
   */
  readonly visionHeads?: number;
  /** Whether to read the weights into memory, to call the reward directly. False for an engine, which reads them. */
  readonly load?: boolean;
}

const MAX_LENGTH = 35; // tokens of a prompt, start and end included
const ADDITIONAL_TOKENS = ['[DEC]', '[ENC]']; // BLIP's, behind BERT's vocabulary
// Statistics of the scores on the authors' validation set.
const MEAN = 0.16717362830052426;
const STD = 1.0333394966054072;

// BLIP's projections for contrastive pretraining, and a buffer of positions.
const unused = [/^blip\.(vision|text)_proj\./, /\.position_ids$/];

/**
 * ImageReward (Xu et al. 2023, arXiv 2304.05977): how much people like an image for its prompt, learnt from 137,000
 * comparisons. BLIP's image encoder, a BERT with cross-attention to it, and a head on the class token.
 *
 * Range: unbounded; standardised, so that 0 is an average image of its training data, and most scores lie in −2.3 … 2.
 * Reads only the first 33 word pieces of a prompt.
 *
 * Preprocessing: bicubic resize of the shorter side to 224 with antialiasing, centre crop, CLIP's mean and standard
 * deviation. The authors resize 8-bit images; scores differ by that rounding.
 *
 * Weights: `THUDM/ImageReward` (1.8 GB, Apache-2.0) and the vocabulary of `google-bert/bert-base-uncased` (Apache-2.0).
 *
 * Over-optimisation: saturated, busy pictures that repeat the prompt's objects, ornaments, letters of the prompt
 * painted into the image; finally noise that scores above all training images. ReFL's loss, `relu(2 - score)`, stops at
 * 2: cap the reward.
 * @throws if files are missing or do not match each other
 */
export async function imageReward({
  weights = 'THUDM/ImageReward',
  tokenizer = 'google-bert/bert-base-uncased',
  visionHeads,
  load = true,
  ...access
}: ImageRewardOptions = {}): Promise<ModelReward> {
  checkOptions('imageReward', access, ['weights', 'tokenizer', 'visionHeads', 'load', ...hubAccessNames]);
  const { source, file } = splitLocation(weights);
  const folder = await resolveSource(source, access);
  const stored = await openWeightFile(folder, file ?? (await findWeights(folder)));
  const config = imageRewardConfig(await readMedConfig(folder), stored, { heads: visionHeads });
  const bert = await BertTokenizer.fromPretrained(tokenizer, { additionalTokens: ADDITIONAL_TOKENS, ...access });
  checkVocabulary(config, bert);
  const reward = defineReward({
    params: loadParams(imageRewardSpec(config), stored, {
      owner: 'imageReward',
      location: folder.location,
      ignored: unused,
    }),
    inputs: (prompts) => {
      const { inputIds, attentionMask, shape } = bert.encode(prompts, { maxLength: MAX_LENGTH });
      return [tensor2d(inputIds, shape, 'int32'), tensor2d(attentionMask, shape)];
    },
    score: (params, images, ids, mask) =>
      score(config, params as unknown as ImageRewardParams, images as Tensor4D, ids as Tensor2D, mask as Tensor2D),
  });
  return load ? loadReward(reward) : reward;
}

const weightFiles = ['ImageReward.safetensors', 'ImageReward.pt'];

async function findWeights(folder: FileSource): Promise<string> {
  for (const file of weightFiles) if (await folder.has(file)) return file;
  throw new Error(
    `imageReward: '${folder.location}' has no weights. Looked for ${weightFiles.join(', ')}. Pass the file's path.`,
  );
}

/** Reads `med_config.json`. Without it the defaults apply, which are the published values. */
async function readMedConfig(folder: FileSource): Promise<ConfigInput> {
  return (await folder.has('med_config.json')) ? ((await readJson(folder, 'med_config.json')) as ConfigInput) : {};
}

/** The weights of an ImageReward checkpoint. */
type ImageRewardParams = {
  blip: { visual_encoder: BlipVisionParams; text_encoder: BlipTextParams };
  mlp: { layers: Readonly<Record<string, LinearParams>> };
};

/** The keys and shapes of the weights. */
function imageRewardSpec({ text, vision, head }: ImageRewardConfig): ParamsSpec {
  const widths = [text.hidden_size, ...Object.values(head)];
  const layers = Object.keys(head).map((place, i) => [place, linearSpec(widths[i]!, widths[i + 1]!)] as const);
  return {
    blip: { visual_encoder: blipVisionSpec(vision), text_encoder: blipTextSpec(text, vision.width) },
    mlp: { layers: Object.fromEntries(layers) },
  };
}

/** Maps images `[B, H, W, 3]`, token ids and attention mask to scores `[B]`. */
function score(
  { text, vision }: ImageRewardConfig,
  { blip, mlp }: ImageRewardParams,
  images: Tensor4D,
  ids: Tensor2D,
  mask: Tensor2D,
): Tensor1D {
  if (images.shape[0] !== ids.shape[0])
    throw new Error(`imageReward: prompts got ${ids.shape[0]}, expected ${images.shape[0]}, one an image.`);
  const tokens = blipVision(
    vision,
    blip.visual_encoder,
    clipPixels(images, { size: vision.patch * vision.grid, rounding: 'even' }),
  );
  const states = blipText(text, blip.text_encoder, ids, mask, tokens); // [B, L, C]
  const first = reshape(slice(states, [0, 0, 0], [-1, 1, -1]), [-1, text.hidden_size]);
  // JavaScript orders integer keys. There are no activations between the layers.
  const rating = Object.values(mlp.layers).reduce<Tensor>((x, { weight, bias }) => linear(x, weight, bias), first);
  return reshape(div(sub(rating, MEAN), STD), [-1]);
}

/** @throws if the tokenizer has ids without an embedding in the model */
function checkVocabulary({ text: { vocab_size } }: ImageRewardConfig, { size }: BertTokenizer): void {
  if (size > vocab_size)
    throw new Error(
      `imageReward: tokenizer got ${size} tokens, expected at most the model's ${vocab_size}. ` +
        'Pass that of bert-base-uncased.',
    );
}
