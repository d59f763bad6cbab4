import type { ModelReward } from '../reward.js';
import { imageTextSimilarity, type ClipRewardOptions } from './image-text-similarity.js';
import { CLIP_H14 } from './pick-score.js';

export interface HpsV2Options extends ClipRewardOptions {
  /** `v2.1` was trained on more and cleaner choices; scores of the two cannot be compared. */
  readonly version?: 'v2' | 'v2.1';
  /**
   * How images get to 224 × 224. `bilinear` is what AlignProp and VADER train with; `bicubic` is what HPSv2's own
   * scorer uses, to compare with published scores.
   */
  readonly mode?: 'bilinear' | 'bicubic';
}

/**
 * Human Preference Score v2 and v2.1 (Wu et al. 2023, arXiv 2306.09341): open_clip's ViT-H-14 tuned on 800,000 choices
 * that people made between pictures of one prompt. The cosine of image and prompt, not scaled.
 *
 * Range: −1 … 1; pictures of today's models get 0.2 to 0.35, and hundredths matter: scale it by 100 beside other
 * rewards.
 *
 * Weights: `xswu/HPSv2` (`HPS_v2_compressed.pt`, `HPS_v2.1_compressed.pt`, about 4 GB each), Apache License 2.0;
 * tokenizer of `laion/CLIP-ViT-H-14-laion2B-s32B-b79K`. That is more than tfjs's wasm backend can hold: leave the
 * weights to an `OnnxRuntimeEngine` (`load: false`).
 *
 * Over-optimised: prompts stop mattering; everything turns into the same vivid, busy illustration, and v2.1 in
 * particular likes bloom, haze and ornament.
 *
 * @throws if files are missing or do not fit each other
 */
export async function hpsV2({
  version = 'v2.1',
  mode = 'bilinear',
  weights = 'xswu/HPSv2',
  tokenizer,
  load = true,
}: HpsV2Options = {}): Promise<ModelReward> {
  if (version !== 'v2' && version !== 'v2.1')
    throw new Error(`hpsV2: version got '${version as string}', expected 'v2' or 'v2.1'.`);
  return imageTextSimilarity({
    owner: 'hpsV2',
    weights,
    file: `HPS_${version}_compressed.pt`,
    architecture: 'ViT-H-14',
    tokenizer,
    defaultTokenizer: CLIP_H14,
    padTokenId: 0, // as open_clip pads
    mode,
    score: (cosine) => cosine,
    load,
  });
}
