import { add, mul, sub, tensor4d, type Tensor4D } from '@tensorflow/tfjs-core';

/**
 * Returns ᾱ at a training timestep.
 * @throws if the schedule has no such timestep
 */
export function alphaAt(owner: string, alphas: Float32Array, t: number): number {
  const alpha = alphas[t];
  if (alpha !== undefined) return alpha;
  throw new Error(
    `${owner}: timestep got ${t}, expected an integer from 0 to ${alphas.length - 1}. Take steps from timesteps().`,
  );
}

/**
 * Returns √ᾱ_t · original + √(1 - ᾱ_t) · noise (arXiv 2006.11239, eq. 4).
 * @param alphas ᾱ_t of each sample of the batch
 */
export function addNoise(original: Tensor4D, noise: Tensor4D, alphas: readonly number[]): Tensor4D {
  return add(mul(original, signalLevels(alphas)), mul(noise, noiseLevels(alphas)));
}

/**
 * Returns the target of a v-prediction model, √ᾱ_t · noise - √(1 - ᾱ_t) · sample (arXiv 2202.00512, appendix D).
 * @param alphas ᾱ_t of each sample of the batch
 */
export function velocity(sample: Tensor4D, noise: Tensor4D, alphas: readonly number[]): Tensor4D {
  return sub(mul(noise, signalLevels(alphas)), mul(sample, noiseLevels(alphas)));
}

/** √ᾱ, `[B, 1, 1, 1]`. */
const signalLevels = (alphas: readonly number[]) => perSample(alphas.map((alpha) => Math.sqrt(alpha)));

/** √(1 - ᾱ), `[B, 1, 1, 1]`. */
const noiseLevels = (alphas: readonly number[]) => perSample(alphas.map((alpha) => Math.sqrt(1 - alpha)));

const perSample = (levels: number[]) => tensor4d(levels, [levels.length, 1, 1, 1]);
