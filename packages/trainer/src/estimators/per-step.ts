import { CutPerStep } from './attachments.js';
import { uniform, type Cut } from './cuts.js';
import type { Estimator } from './estimator.js';
import type { Plan } from './plans.js';

/** Draws a cut for every step, as TRL's `AlignPropTrainer` and the AlignProp paper's code do. */
export const perStep = (cut: Cut): Plan => ({ name: 'per-step', attached: new CutPerStep(cut) });

/** TRL's default: `random.randint(min, max)` at every step, with both bounds included. */
export const perStepEstimator: Estimator = {
  parameters: [],
  plan: ({ truncated_rand_backprop_minmax: [min, max] }) => perStep(uniform(min, max + 1)),
  problems({ truncated_rand_backprop_minmax: [min, max] }) {
    if (min <= max) return [];
    return [{ key: 'truncated_rand_backprop_minmax', message: `got [${min}, ${max}], expected min <= max.` }];
  },
  emptyPlan: {
    cause: ({ truncated_rand_backprop_minmax: [min, max] }) => ({
      key: 'truncated_rand_backprop_minmax',
      value: `[${min}, ${max}]`,
    }),
    advice: (steps) => `Try [0, ${steps}], or more steps.`,
  },
};
