import { AttachmentPlan } from './attachment-plan.js';
import { EquallySpacedSteps } from './attachments.js';
import type { BackpropOptions, Estimator } from './estimator.js';
import type { Plan } from './plans.js';

/**
 * DRTune (arXiv 2405.00760): attaches K equally spaced steps with the model's input detached, so that the gradient
 * reaches early steps along the scheduler's path alone; the chain ends at one of the last `within` steps, and the
 * reward judges the x_0 predicted there.
 */
export const drTune = (count: number, within: number): Plan =>
  new AttachmentPlan({
    name: 'drtune',
    attached: new EquallySpacedSteps(count),
    detachInput: true,
    within,
    showPredicted: true,
  });

/** DRTune whose chain goes on to its end, which the reward judges. */
export const drTuneEnd = (count: number, within: number): Plan =>
  new AttachmentPlan({ name: 'drtune-end', attached: new EquallySpacedSteps(count), detachInput: true, within });

export const drTuneEstimator: Estimator = {
  parameters: ['estimator_steps', 'estimator_last'],
  plan: (options) => drTune(...counts(options)),
};

export const drTuneEndEstimator: Estimator = {
  parameters: ['estimator_steps', 'estimator_last'],
  plan: (options) => drTuneEnd(...counts(options)),
};

/** K = 3 and the last 40 % of the steps by default, as in FlowBP's re-implementation. */
const counts = ({
  sample_num_steps: steps,
  estimator_steps: count,
  estimator_last: last,
}: BackpropOptions): readonly [count: number, within: number] => [
  count ?? Math.min(3, steps),
  last ?? Math.max(1, Math.round(0.4 * steps)),
];
