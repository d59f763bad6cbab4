import { EquallySpacedSteps } from './attachments.js';
import type { Estimator } from './estimator.js';
import type { Plan } from './plans.js';

/**
 * DRTune (arXiv 2405.00760): attaches K equally spaced steps with the model's input detached, so that the gradient
 * reaches early steps along the scheduler's path alone; the reward judges the x_0 predicted at one of the last `within`
 * steps.
 */
export const drTune = (count: number, within: number): Plan => ({
  name: 'drtune',
  attached: new EquallySpacedSteps(count),
  detachInput: true,
  predictedWithin: within,
});

/** K = 3 and the last 40 % of the steps by default, as in FlowBP's re-implementation. */
export const drTuneEstimator: Estimator = {
  parameters: ['estimator_steps', 'estimator_last'],
  plan: ({ sample_num_steps: steps, estimator_steps: count, estimator_last: last }) =>
    drTune(count ?? Math.min(3, steps), last ?? Math.max(1, Math.round(0.4 * steps))),
};
