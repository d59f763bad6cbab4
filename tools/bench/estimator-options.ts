import type { AlignPropConfigInput, EstimatorName } from '@alignprop/trainer';

/** Returns the options with which an estimator fits a chain of so many steps; others have their defaults. */
export function estimatorOptions(estimator: EstimatorName, steps: number): AlignPropConfigInput {
  return { estimator, ...truncations(steps)[estimator] };
}

const truncations = (steps: number): Readonly<Partial<Record<EstimatorName, AlignPropConfigInput>>> => ({
  'per-step': { truncated_rand_backprop_minmax: [0, steps] },
  fixed: { truncated_backprop_rand: false, truncated_backprop_timestep: steps - 2 },
  uniform: { backprop_kwargs: { uniform: { min: 0, max: steps } } },
  gaussian: { backprop_kwargs: { gaussian: { mean: 0.84 * steps, std: 0.1 * steps } } },
});
