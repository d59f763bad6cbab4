import { hubAccessNames } from '@alignprop/autograd-ext/weights';
import { checkOptions } from '@alignprop/autograd-ext';
import { exp, mul } from '@tensorflow/tfjs-core';
import type { ModelReward } from '../reward.js';
import { imageTextSimilarity, type ClipRewardOptions } from './image-text-similarity.js';

/**
 * PickScore v1 (Kirstain et al. 2023, arXiv 2305.01569): exp(logit_scale)·cosine of image and prompt by CLIP ViT-H/14,
 * fine-tuned on half a million choices that people made between two pictures of the same prompt.
 *
 * Range: −100 … 100; pictures of today's models get 18 to 24. A difference of 1 means odds of e : 1 for the better one.
 *
 * Weights: `yuvalkirstain/PickScore_v1` (3.9 GB), tokenizer of `laion/CLIP-ViT-H-14-laion2B-s32B-b79K`. The authors'
 * code is under the MIT License; see the model's page for the weights'. This exceeds the memory of tfjs's wasm
 * backend: use an `OnnxRuntimeEngine` and `load: false`.
 *
 * Over-optimisation: glossy, saturated, high-contrast pictures in one style whatever the prompt, with more and more
 * details, faces and centred single subjects.
 *
 * @throws if files are missing or do not match each other
 */
export async function pickScore({
  weights = 'yuvalkirstain/PickScore_v1',
  tokenizer,
  load = true,
  ...access
}: ClipRewardOptions = {}): Promise<ModelReward> {
  checkOptions('pickScore', access, ['weights', 'tokenizer', 'load', ...hubAccessNames]);
  return imageTextSimilarity({
    owner: 'pickScore',
    weights,
    tokenizer,
    defaultTokenizer: CLIP_H14,
    mode: 'bicubic',
    score: (cosine, { logit_scale }) => mul(exp(logit_scale), cosine),
    load,
    access,
  });
}

/** The hub id of the CLIP ViT-H/14 that PickScore and HPSv2 were fine-tuned from. */
export const CLIP_H14 = 'laion/CLIP-ViT-H-14-laion2B-s32B-b79K';
