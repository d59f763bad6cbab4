import { add, div, minimum, mul, tidy, type Scalar, type Tensor } from '@tensorflow/tfjs-core';
import type { Gradients } from './gradients.js';

/**
 * Scales gradients by min(1, maxNorm / (norm + 1e-6)), as `torch.nn.utils.clip_grad_norm_` does.
 * @param norm `globalNorm` of these gradients
 * @returns new tensors, which belong to the caller
 */
export function clipByGlobalNorm<G extends Gradients>(
  gradients: G,
  norm: Scalar,
  maxNorm: number,
): { [K in keyof G]: Tensor } {
  return tidy(() => {
    const scale = minimum(div(maxNorm, add(norm, 1e-6)), 1);
    return Object.fromEntries(Object.entries(gradients).map(([name, gradient]) => [name, mul(gradient, scale)]));
  }) as { [K in keyof G]: Tensor };
}
