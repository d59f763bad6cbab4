import { add, mul, sub, tensor4d, type Tensor4D } from '@tensorflow/tfjs-core';

/**
 * ᾱ at a training timestep.
 * @throws if the schedule has no such timestep
 */
export function alphaAt(owner: string, alphas: Float32Array, t: number): number {
  const alpha = alphas[t];
  if (alpha !== undefined) return alpha;
  throw new Error(
    `${owner}: timestep got ${t}, expected an integer from 0 to ${alphas.length - 1}. Take steps from timesteps().`,
  );
}

/** √ᾱ_t · original + √(1 - ᾱ_t) · noise (arXiv 2006.11239, eq. 4); `alphas` holds ᾱ_t for each sample of the batch. */
export function addNoise(original: Tensor4D, noise: Tensor4D, alphas: readonly number[]): Tensor4D {
  return add(
    mul(
      original,
      perSample(alphas, (alpha) => Math.sqrt(alpha)),
    ),
    mul(
      noise,
      perSample(alphas, (alpha) => Math.sqrt(1 - alpha)),
    ),
  );
}

/** √ᾱ_t · noise - √(1 - ᾱ_t) · sample: what a v-prediction model is trained on (arXiv 2202.00512, appendix D). */
export function velocity(sample: Tensor4D, noise: Tensor4D, alphas: readonly number[]): Tensor4D {
  return sub(
    mul(
      noise,
      perSample(alphas, (alpha) => Math.sqrt(alpha)),
    ),
    mul(
      sample,
      perSample(alphas, (alpha) => Math.sqrt(1 - alpha)),
    ),
  );
}

const perSample = (alphas: readonly number[], factor: (alpha: number) => number) =>
  tensor4d(alphas.map(factor), [alphas.length, 1, 1, 1]); // [B, 1, 1, 1]
