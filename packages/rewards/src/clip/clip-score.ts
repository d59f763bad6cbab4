import { maximum, mul } from '@tensorflow/tfjs-core';
import type { ModelReward } from '../reward.js';
import { imageTextSimilarity, type ClipRewardOptions } from './image-text-similarity.js';

export interface ClipScoreOptions extends ClipRewardOptions {
  /**
   * `cosine`: the cosine itself. `paper`: 2.5·max(cosine, 0). `percent`: 100·max(cosine, 0), as torchmetrics has it.
   * The two with a maximum have no gradient where image and prompt are further apart than a right angle.
   */
  readonly form?: 'cosine' | 'paper' | 'percent';
}

/**
 * CLIPScore (Hessel et al. 2021, arXiv 2104.08718): how well an image fits its prompt, as the cosine of their
 * embeddings.
 *
 * Range: −1 … 1 (`cosine`), 0 … 2.5 (`paper`), 0 … 100 (`percent`); pictures that fit get cosines of about 0.2 to 0.35.
 *
 * Weights: `openai/clip-vit-large-patch14` by default (1.7 GB); any `CLIPModel` in transformers' layout, or open_clip
 * model, will do. OpenAI's code is under the MIT License; the model card names no licence for the weights, and calls
 * deployment out of scope.
 *
 * Over-optimised: letters of the prompt appear in the picture, objects are repeated over and over, then fine texture
 * that looks like noise and means nothing to people. CLIP counts badly and knows little of composition.
 *
 * @throws if files are missing or do not fit each other
 */
export async function clipScore({
  form = 'cosine',
  weights = CLIP_L14,
  tokenizer,
  load = true,
}: ClipScoreOptions = {}): Promise<ModelReward> {
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
  });
}

/** Where OpenAI's CLIP ViT-L/14 lies. */
export const CLIP_L14 = 'openai/clip-vit-large-patch14';

const factors = { cosine: undefined, paper: 2.5, percent: 100 } as const;
