import { exp, mul } from '@tensorflow/tfjs-core';
import type { ModelReward } from '../reward.js';
import { imageTextSimilarity, type ClipRewardOptions } from './image-text-similarity.js';

/**
 * PickScore v1 (Kirstain et al. 2023, arXiv 2305.01569): CLIP ViT-H/14 tuned on half a million choices that people made
 * between two pictures of one prompt. exp(logit_scale)·cosine.
 *
 * Range: −100 … 100; pictures of today's models get 18 to 24, and a difference of 1 means that e : 1 prefer the better
 * one.
 *
 * Weights: `yuvalkirstain/PickScore_v1` (3.9 GB), tokenizer of `laion/CLIP-ViT-H-14-laion2B-s32B-b79K`. The authors'
 * code is under the MIT License; see the model's page for the weights'. That is more than tfjs's wasm backend can hold:
 * leave the weights to an `OnnxRuntimeEngine` (`load: false`).
 *
 * Over-optimised: glossy, saturated, high-contrast pictures in one style whatever the prompt, with details that
 * multiply; faces and centred single subjects spread.
 *
 * @throws if files are missing or do not fit each other
 */
export async function pickScore({
  weights = 'yuvalkirstain/PickScore_v1',
  tokenizer,
  load = true,
}: ClipRewardOptions = {}): Promise<ModelReward> {
  return imageTextSimilarity({
    owner: 'pickScore',
    weights,
    tokenizer,
    defaultTokenizer: CLIP_H14,
    mode: 'bicubic',
    score: (cosine, { logit_scale }) => mul(exp(logit_scale), cosine),
    load,
  });
}

/** Where the CLIP ViT-H/14 lies that PickScore and HPSv2 were tuned from. */
export const CLIP_H14 = 'laion/CLIP-ViT-H-14-laion2B-s32B-b79K';
