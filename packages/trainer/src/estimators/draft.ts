import { AttachmentPlan } from './attachment-plan.js';
import { LastSteps } from './attachments.js';
import type { Estimator } from './estimator.js';
import type { Plan } from './plans.js';

/** DRaFT (arXiv 2309.17400): attaches all steps. */
export const full = (): Plan => new AttachmentPlan({ name: 'full', attached: new LastSteps(Infinity) });

/** DRaFT-K: attaches the last K steps. */
export const lastK = (count: number): Plan => new AttachmentPlan({ name: 'draft-k', attached: new LastSteps(count) });

/**
 * DRaFT-LV: attaches the last step of the chain, and of n chains of one step that start from x_0 noised again; the mean
 * of their gradients has less variance.
 */
export const draftLV = (renoised: number): Plan =>
  new AttachmentPlan({ name: 'draft-lv', attached: new LastSteps(1), renoised });

export const fullEstimator: Estimator = { parameters: [], plan: full };

/** K = 1 by default. */
export const draftKEstimator: Estimator = {
  parameters: ['estimator_steps'],
  plan: ({ estimator_steps: count }) => lastK(count ?? 1),
};

/** n = 2 by default, as in the paper. */
export const draftLVEstimator: Estimator = {
  parameters: ['estimator_copies'],
  plan: ({ estimator_copies: copies }) => draftLV(copies ?? 2),
};
