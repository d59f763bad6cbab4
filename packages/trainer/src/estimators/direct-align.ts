import type { TorchGenerator } from '@alignprop/autograd-ext';
import { imageSources, type Estimator } from './estimator.js';
import { detachedStep, type DrawnPlan, type Plan, type PlannedChain } from './plans.js';

/**
 * Direct-Align (arXiv 2509.06942): noises the chain's end to the level of a step with known noise, takes this step, and
 * shows the reward the x_0 that the known noise recovers from it: the clean image, whatever the level, apart from what
 * the model predicts wrongly. Trains one step, drawn from the last `within`. With given images, which the latents of a
 * micro-batch then are, it noises these, and no chain is walked down.
 */
export class DirectAlign implements Plan {
  readonly name = 'direct-align';

  constructor(
    readonly within: number,
    readonly images: (typeof imageSources)[number] = 'chain',
  ) {}

  draw({ steps }: PlannedChain, generator: TorchGenerator): DrawnPlan {
    const choices = Math.min(this.within, steps);
    const realigned = steps - choices + (choices === 1 ? 0 : generator.randint(0, choices, 1)[0]!);
    return {
      steps: Array.from({ length: steps }, (_, i) => (i === realigned ? { weight: 1, coupling: 0 } : detachedStep)),
      shown: 'recovered-x_0',
      renoised: 0,
      realigned,
      ...(this.images === 'dataset' && { isGiven: true }),
    };
  }

  probabilities(steps: number): readonly number[] {
    const choices = Math.min(this.within, steps);
    return Array.from({ length: steps }, (_, i) => (i < steps - choices ? 0 : 1 / choices));
  }
}

/** All steps by default. */
export const directAlignEstimator: Estimator = {
  parameters: ['estimator_last', 'estimator_images'],
  plan: ({ sample_num_steps: steps, estimator_last: last, estimator_images: images }) =>
    new DirectAlign(
      last ?? steps,
      imageSources.find((source) => source === images),
    ),
};
