import type { Tensor1D, Tensor4D } from '@tensorflow/tfjs-core';

/**
 * A score for each image of a batch, higher is better. A reward is a plain function of tfjs ops: pure, synchronous and
 * differentiable in the images. It reads no tensor's values, gives each image the score that it would have alone, and
 * owns nothing that it returns or is given.
 * @param images `[B, H, W, 3]`, RGB in [0, 1]
 * @param prompts what each image was made from, B of them
 * @param promptMetadata what the prompt function said beside each prompt, B of them
 * @returns `[B]`
 */
export type RewardFunction<M = unknown> = (
  images: Tensor4D,
  prompts: readonly string[],
  promptMetadata: readonly M[],
) => Tensor1D;

/** @throws if images are not RGB images in a batch */
export function checkImages(owner: string, images: Tensor4D): void {
  const { shape } = images;
  if (shape.length !== 4 || shape[3] !== 3 || shape.includes(0))
    throw new Error(`${owner}: images got shape [${shape}], expected [B, H, W, 3], channels last, at least one image.`);
}
