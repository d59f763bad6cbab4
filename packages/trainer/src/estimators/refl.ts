import { LastSteps } from './attachments.js';
import type { Estimator } from './estimator.js';
import type { Plan } from './plans.js';

/**
 * ReFL (arXiv 2304.05977, algorithm 1): attaches one step, drawn from the last `within`; the reward judges the x_0
 * predicted there.
 */
export const refl = (within: number): Plan => ({
  name: 'refl',
  attached: new LastSteps(1),
  predictedWithin: within,
});

/** The last quarter of the steps by default: 10 of 40 in the paper. */
export const reflEstimator: Estimator = {
  parameters: ['estimator_last'],
  plan: ({ sample_num_steps: steps, estimator_last: last }) => refl(last ?? Math.max(1, Math.round(steps / 4))),
};
