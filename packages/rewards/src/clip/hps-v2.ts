import { hubAccessNames } from '@alignprop/autograd-ext/weights';
import { checkOptions } from '@alignprop/autograd-ext';
import type { ModelReward } from '../reward.js';
import { imageTextSimilarity, type ClipRewardOptions } from './image-text-similarity.js';
import { CLIP_H14 } from './pick-score.js';

/** Weights, version and preprocessing of `hpsV2`. */
export interface HpsV2Options extends ClipRewardOptions {
  /** `v2.1` was trained on more and cleaner choices. The scores of the two versions are not comparable. */
  readonly version?: 'v2' | 'v2.1';
  /**
   * How images are resized to 224 × 224. AlignProp and VADER train with `bilinear`; HPSv2's own scorer, and so
   * published scores, use `bicubic`.
   */
  readonly mode?: 'bilinear' | 'bicubic';
}

/**
 * Human Preference Score v2 and v2.1 (Wu et al. 2023, arXiv 2306.09341): the cosine of image and prompt by open_clip's
 * ViT-H-14, fine-tuned on 800,000 choices that people made between pictures of the same prompt.
 *
 * Range: −1 … 1; pictures of today's models get 0.2 to 0.35, and differences of 0.01 matter: scale it by 100 to sum it
 * with other rewards.
 *
 * Weights: `xswu/HPSv2` (`HPS_v2_compressed.pt`, `HPS_v2.1_compressed.pt`, about 4 GB each), Apache License 2.0;
 * tokenizer of `laion/CLIP-ViT-H-14-laion2B-s32B-b79K`. This exceeds the memory of tfjs's wasm backend: use an
 * `OnnxRuntimeEngine` and `load: false`.
 *
 * Over-optimisation: the prompt loses its influence, and every picture becomes the same vivid, busy illustration. v2.1
 * adds bloom, haze and ornament.
 *
 * @throws if files are missing or do not match each other
 */
export async function hpsV2({
  version = 'v2.1',
  mode = 'bilinear',
  weights = 'xswu/HPSv2',
  tokenizer,
  load = true,
  ...access
}: HpsV2Options = {}): Promise<ModelReward> {
  checkOptions('hpsV2', access, ['version', 'mode', 'weights', 'tokenizer', 'load', ...hubAccessNames]);
  if (version !== 'v2' && version !== 'v2.1')
    throw new Error(`hpsV2: version got '${version as string}', expected 'v2' or 'v2.1'.`);
  return imageTextSimilarity({
    owner: 'hpsV2',
    weights,
    file: `HPS_${version}_compressed.pt`,
    architecture: 'ViT-H-14',
    tokenizer,
    defaultTokenizer: CLIP_H14,
    padTokenId: 0, // as in open_clip
    mode,
    score: (cosine) => cosine,
    load,
    access,
  });
}
