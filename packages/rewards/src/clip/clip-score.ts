import { hubAccessNames } from '@alignprop/autograd-ext/weights';
import { checkOptions } from '@alignprop/autograd-ext';
import { maximum, mul } from '@tensorflow/tfjs-core';
import type { ModelReward } from '../reward.js';
import { imageTextSimilarity, type ClipRewardOptions } from './image-text-similarity.js';

/** Weights and scale of `clipScore`. */
export interface ClipScoreOptions extends ClipRewardOptions {
  /**
   * `cosine`: the cosine. `paper`: 2.5·max(cosine, 0). `percent`: 100·max(cosine, 0), as in torchmetrics. The last two
   * have no gradient where the cosine is negative.
   */
  readonly form?: 'cosine' | 'paper' | 'percent';
}

/**
 * CLIPScore (Hessel et al. 2021, arXiv 2104.08718): how well an image matches its prompt, as the cosine of their
 * embeddings.
 *
 * Range: −1 … 1 (`cosine`), 0 … 2.5 (`paper`), 0 … 100 (`percent`); matching pictures get cosines of about 0.2 to 0.35.
 *
 * Weights: `openai/clip-vit-large-patch14` by default (1.7 GB), or any other `CLIPModel` in transformers' or
 * open_clip's layout. OpenAI's code is under the MIT License; the model card names no licence for the weights, and
 * calls deployment out of scope.
 *
 * Over-optimisation: letters of the prompt appear in the picture, objects are repeated, later a fine noise-like texture
 * that means nothing to people. CLIP counts badly, and knows little of composition.
 *
 * @throws if files are missing or do not match each other
 */
export async function clipScore({
  form = 'cosine',
  weights = CLIP_L14,
  tokenizer,
  load = true,
  ...access
}: ClipScoreOptions = {}): Promise<ModelReward> {
  checkOptions('clipScore', access, ['form', 'weights', 'tokenizer', 'load', ...hubAccessNames]);
  if (!Object.hasOwn(factors, form))
    throw new Error(`clipScore: form got '${form}', expected one of ${Object.keys(factors).join(', ')}.`);
  const factor = factors[form];
  return imageTextSimilarity({
    owner: 'clipScore',
    weights,
    tokenizer,
    defaultTokenizer: CLIP_L14,
    mode: 'bicubic',
    score: (cosine) => (factor === undefined ? cosine : mul(maximum(cosine, 0), factor)),
    load,
    access,
  });
}

/** The hub id of OpenAI's CLIP ViT-L/14. */
export const CLIP_L14 = 'openai/clip-vit-large-patch14';

const factors = { cosine: undefined, paper: 2.5, percent: 100 } as const;
