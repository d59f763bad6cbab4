import { AttachmentPlan } from './attachment-plan.js';
import { LastSteps } from './attachments.js';
import type { BackpropOptions, Estimator } from './estimator.js';
import type { Plan } from './plans.js';

/**
 * ReFL (arXiv 2304.05977, algorithm 1): attaches one step, drawn from the last `within`; the chain ends there, and the
 * reward judges the x_0 predicted there.
 */
export const refl = (within: number): Plan =>
  new AttachmentPlan({ name: 'refl', attached: new LastSteps(1), detachInput: true, within, showPredicted: true });

/** ReFL whose chain goes on to its end, which the reward judges. */
export const reflEnd = (within: number): Plan =>
  new AttachmentPlan({ name: 'refl-end', attached: new LastSteps(1), detachInput: true, within });

export const reflEstimator: Estimator = { parameters: ['estimator_last'], plan: (options) => refl(lastSteps(options)) };

export const reflEndEstimator: Estimator = {
  parameters: ['estimator_last'],
  plan: (options) => reflEnd(lastSteps(options)),
};

/** The last quarter of the steps by default: 10 of 40 in the paper. */
const lastSteps = ({ sample_num_steps: steps, estimator_last: last }: BackpropOptions): number =>
  last ?? Math.max(1, Math.round(steps / 4));
