import { add, addN, div, minimum, mul, sqrt, square, sum, tidy, type Scalar, type Tensor } from '@tensorflow/tfjs-core';

/** Gradients by parameter path. */
export type Gradients = Readonly<Record<string, Tensor>>;

/** The L2 norm of all gradients together, as a scalar tensor. */
export const globalNorm = (gradients: Gradients): Scalar =>
  tidy(() => sqrt(addN(Object.values(gradients).map((gradient) => sum(square(gradient)))))) as Scalar;

/**
 * The gradients times min(1, maxNorm / (norm + 1e-6)), as `torch.nn.utils.clip_grad_norm_` scales them.
 * @param norm what `globalNorm` gave for these gradients
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
