import { add, clipByValue, div, maximum, mul, sqrt, square, sum, tidy, type Tensor4D } from '@tensorflow/tfjs-core';

/** The smallest normal float32: a gradient of 0 stays 0. */
const smallest = 2 ** -126;

/**
 * Moves images by a distance towards a lower reward: x + ρ·g / ‖g‖ with g = dL/dx, which is x - ρ·∇r / ‖∇r‖ (RSA-FT,
 * arXiv 2603.21175). The gradient there follows rewards that hold for similar images too, not narrow peaks.
 * @param images `[B, H, W, 3]` in [0, 1]
 * @param gradients of the loss, of the same shape
 * @param radius ρ, the L2 norm of the move of each image
 * @returns `[B, H, W, 3]` in [0, 1]
 */
export const harderImages = (images: Tensor4D, gradients: Tensor4D, radius: number): Tensor4D =>
  tidy(() => {
    const norms = sqrt(sum(square(gradients), [1, 2, 3], true)); // [B, 1, 1, 1]
    const directions = div(gradients, maximum(norms, smallest));
    return clipByValue(add(images, mul(directions, radius)), 0, 1) as Tensor4D;
  });
