import { AttachmentPlan } from './attachment-plan.js';
import { CutPerTrajectory } from './attachments.js';
import { fixed, gaussian, uniform, type Cut } from './cuts.js';
import type { Estimator } from './estimator.js';
import type { Plan } from './plans.js';

/** Draws one cut for the whole chain, as the authors' later code does: the last T - cut steps are attached. */
export const perTrajectory = (name: string, cut: Cut, lowest?: number): Plan =>
  new AttachmentPlan({ name, attached: new CutPerTrajectory(cut, lowest) });

/** TRL's `truncated_backprop_rand: false`: always the same cut. */
export const fixedEstimator: Estimator = {
  parameters: [],
  plan: ({ truncated_backprop_timestep: timestep, backprop_kwargs: kwargs }) =>
    perTrajectory('fixed', fixed(kwargs.fixed?.value ?? timestep)),
  emptyPlan: {
    cause: ({ truncated_backprop_timestep: timestep, backprop_kwargs: kwargs }) => ({
      key: kwargs.fixed ? 'backprop_kwargs' : 'truncated_backprop_timestep',
      value: `${kwargs.fixed?.value ?? timestep}`,
    }),
    advice: (steps) => `Try ${steps - 1} (the last step), anything lower, or 0 (all steps).`,
  },
};

/** The authors' later code: a cut from [min, max), drawn again until 1 <= cut < T. */
export const uniformEstimator: Estimator = {
  parameters: [],
  plan: ({ backprop_kwargs: { uniform: kwargs } }) => perTrajectory('uniform', uniform(kwargs.min, kwargs.max), 1),
  problems({ backprop_kwargs: { uniform: kwargs } }) {
    if (kwargs.min < kwargs.max) return [];
    const message = `uniform got min ${kwargs.min} and max ${kwargs.max}, expected min < max.`;
    return [{ key: 'backprop_kwargs', message }];
  },
  emptyPlan: {
    cause: () => ({ key: 'backprop_kwargs', value: 'uniform' }),
    advice: (steps) => (steps === 1 ? fullChain : `Try backprop_kwargs {uniform: {min: 0, max: ${steps}}}.`),
  },
};

/** The authors' later code: a rounded normal cut, drawn again until 1 <= cut < T. */
export const gaussianEstimator: Estimator = {
  parameters: [],
  plan: ({ backprop_kwargs: { gaussian: kwargs } }) => perTrajectory('gaussian', gaussian(kwargs.mean, kwargs.std), 1),
  emptyPlan: {
    cause: () => ({ key: 'backprop_kwargs', value: 'gaussian' }),
    advice(steps) {
      if (steps === 1) return fullChain;
      const [mean, std] = [(0.84 * steps).toFixed(2), (0.1 * steps).toFixed(2)];
      return `Try backprop_kwargs {gaussian: {mean: ${mean}, std: ${std}}}.`;
    },
  },
};

const fullChain = "Try backprop_strategy 'fixed' with truncated_backprop_timestep 0.";
