import type { TorchGenerator } from '@alignprop/autograd-ext';
import type { Estimator } from './estimator.js';
import { detachedStep, type DrawnPlan, type Plan, type PlannedChain } from './plans.js';

/**
 * Direct-Align (arXiv 2509.06942): noises the chain's end to the level of a step with known noise, takes this step, and
 * shows the reward the x_0 that the known noise recovers from it: the clean image, whatever the level, apart from what
 * the model predicts wrongly. Trains one step, drawn from the last `within`.
 */
export class DirectAlign implements Plan {
  readonly name = 'direct-align';

  constructor(readonly within: number) {}

  draw({ steps }: PlannedChain, generator: TorchGenerator): DrawnPlan {
    const choices = Math.min(this.within, steps);
    const realigned = steps - choices + (choices === 1 ? 0 : generator.randint(0, choices, 1)[0]!);
    return {
      steps: Array.from({ length: steps }, (_, i) => (i === realigned ? { weight: 1, coupling: 0 } : detachedStep)),
      shown: 'recovered-x_0',
      renoised: 0,
      realigned,
    };
  }

  probabilities(steps: number): readonly number[] {
    const choices = Math.min(this.within, steps);
    return Array.from({ length: steps }, (_, i) => (i < steps - choices ? 0 : 1 / choices));
  }
}

/** All steps by default. */
export const directAlignEstimator: Estimator = {
  parameters: ['estimator_last'],
  plan: ({ sample_num_steps: steps, estimator_last: last }) => new DirectAlign(last ?? steps),
};
