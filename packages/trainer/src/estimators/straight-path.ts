import type { PlannedChain } from './plans.js';

/**
 * A chain in the coordinates y_i = x_i / Π A_l over the steps l < i, in which a step x' = A·x + B·ε + noise only adds:
 * y' = y + h·ε + noise. With epsilon prediction these are FlowBP's y = x / √ᾱ and h = σ' - σ, times a constant.
 */
export interface StraightPath {
  /** Π A_l over the steps before each of the latents, one more than there are steps: x_i = scales[i] · y_i. */
  readonly scales: readonly number[];
  /** h of each step. */
  readonly increments: readonly number[];
  /** Σ h_l over the steps before each of the latents, one more than there are steps; σ apart from a constant. */
  readonly positions: readonly number[];
}

/** @throws if a step is not linear, or forgets its input: nothing can be leapt over then */
export function straightPath(chain: PlannedChain): StraightPath {
  const [scales, increments, positions] = [[1], [] as number[], [0]];
  for (const [i, { sample, modelOutput }] of chain.coefficients().entries()) {
    const scale = scales[i]! * sample;
    const increment = modelOutput / scale;
    if (!Number.isFinite(increment) || increment === 0) {
      throw new Error(
        `straightPath: step ${i} of ${chain.steps} got the factors ${sample} of the latents and ${modelOutput} of ` +
          "the prediction, expected two other than 0. Use an estimator without leaps: 'drtune', for example.",
      );
    }
    scales.push(scale);
    increments.push(increment);
    positions.push(positions[i]! + increment);
  }
  return { scales, increments, positions };
}

/** Σ |h| of all steps, over that of some of them. */
export function shareFactor({ increments }: StraightPath, active: readonly number[]): number {
  const length = (steps: readonly number[]) => steps.reduce((sum, h) => sum + Math.abs(h), 0);
  return length(increments) / length(active.map((i) => increments[i]!));
}
