import { AttachmentPlan } from './attachment-plan.js';
import { CutPerStep } from './attachments.js';
import { uniform, type Cut } from './cuts.js';
import type { Estimator } from './estimator.js';
import type { Plan } from './plans.js';

/** Draws a cut for every step, as TRL's `AlignPropTrainer` and the AlignProp paper's code do. */
export const perStep = (cut: Cut): Plan => new AttachmentPlan({ name: 'per-step', attached: new CutPerStep(cut) });

/** The default of the option, which stays valid for a run of fewer steps. */
const defaultMaximum = 50;

/** TRL's default: `random.randint(min, max)` at every step, with both bounds included. */
export const perStepEstimator: Estimator = {
  parameters: [],
  plan: ({ truncated_rand_backprop_minmax: [min, max] }) => perStep(uniform(min, max + 1)),
  problems({ truncated_rand_backprop_minmax: [min, max], sample_num_steps: steps }) {
    const problem = (message: string) => [{ key: 'truncated_rand_backprop_minmax' as const, message }];
    if (min > max) return problem(`got [${min}, ${max}], expected min <= max.`);
    if (max <= Math.max(steps, defaultMaximum)) return [];
    return problem(
      `got [${min}, ${max}], expected a maximum of at most sample_num_steps, ${steps}: ` +
        `a step that draws more is never attached. Try [${Math.min(min, steps - 1)}, ${steps}].`,
    );
  },
  emptyPlan: {
    cause: ({ truncated_rand_backprop_minmax: [min, max] }) => ({
      key: 'truncated_rand_backprop_minmax',
      value: `[${min}, ${max}]`,
    }),
    advice: (steps) => `Try [0, ${steps}], or more steps.`,
  },
};
