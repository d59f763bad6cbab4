import { fixed, gaussian, uniform } from './cuts.js';
import { emptyProbability, perStep, perTrajectory, type Plan } from './plans.js';

/** The options that decide where the gradient enters the model. */
export interface BackpropOptions {
  readonly sample_num_steps: number;
  readonly truncated_backprop_rand: boolean;
  readonly truncated_backprop_timestep: number;
  readonly truncated_rand_backprop_minmax: readonly [number, number];
  readonly backprop_strategy?: BackpropStrategy | undefined;
  readonly backprop_kwargs: {
    readonly gaussian: { readonly mean: number; readonly std: number };
    readonly uniform: { readonly min: number; readonly max: number };
    readonly fixed?: { readonly value: number } | undefined;
  };
}

export type BackpropStrategy = 'per-step' | 'fixed' | 'uniform' | 'gaussian';

const plans: Readonly<Record<BackpropStrategy, (options: BackpropOptions) => Plan>> = {
  'per-step': ({ truncated_rand_backprop_minmax: [min, max] }) => perStep(uniform(min, max + 1)),
  fixed: ({ truncated_backprop_timestep: timestep, backprop_kwargs: kwargs }) =>
    perTrajectory('fixed', fixed(kwargs.fixed?.value ?? timestep)),
  // The authors' code draws again until 1 <= cut < T.
  uniform: ({ backprop_kwargs: { uniform: kwargs } }) => perTrajectory('uniform', uniform(kwargs.min, kwargs.max), 1),
  gaussian: ({ backprop_kwargs: { gaussian: kwargs } }) => perTrajectory('gaussian', gaussian(kwargs.mean, kwargs.std), 1),
};

const strategyOf = (options: BackpropOptions): BackpropStrategy =>
  options.backprop_strategy ?? (options.truncated_backprop_rand ? 'per-step' : 'fixed');

/** The plan that a configuration describes. */
export const backpropPlan = (options: BackpropOptions): Plan => plans[strategyOf(options)](options);

/** Above this probability of an empty draw a configuration is refused; below, empty draws are drawn again. */
export const maxEmptyProbability = 0.5;

type Problem = { readonly key: 'truncated_backprop_timestep' | 'truncated_rand_backprop_minmax' | 'backprop_kwargs'; readonly message: string };

const keyOf: Readonly<Record<BackpropStrategy, Problem['key']>> = {
  'per-step': 'truncated_rand_backprop_minmax',
  fixed: 'truncated_backprop_timestep',
  uniform: 'backprop_kwargs',
  gaussian: 'backprop_kwargs',
};

/** The check that TRL's documentation promises: does the gradient reach the model at all in `sample_num_steps` steps? */
export function checkBackpropPlan(options: BackpropOptions): readonly Problem[] {
  const { sample_num_steps: steps, truncated_rand_backprop_minmax: [min, max], backprop_kwargs: kwargs } = options;
  const strategy = strategyOf(options);
  const key = strategy === 'fixed' && kwargs.fixed ? 'backprop_kwargs' : keyOf[strategy];
  if (strategy === 'per-step' && min > max) return [{ key, message: `got [${min}, ${max}], expected min <= max.` }];
  if (strategy === 'uniform' && kwargs.uniform.min >= kwargs.uniform.max) {
    return [{ key, message: `uniform got min ${kwargs.uniform.min} and max ${kwargs.uniform.max}, expected min < max.` }];
  }
  const empty = emptyProbability(backpropPlan(options), steps);
  if (empty <= maxEmptyProbability) return [];
  const value = { 'per-step': `[${min}, ${max}]`, fixed: kwargs.fixed?.value ?? options.truncated_backprop_timestep, uniform: 'uniform', gaussian: 'gaussian' }[strategy];
  const percent = `${(100 * empty).toFixed(1)} %`;
  return [{ key, message: `got ${value}: with sample_num_steps ${steps} the gradient reaches no step of ${percent} of the trajectories. ${advice(strategy, steps)}` }];
}

function advice(strategy: BackpropStrategy, steps: number): string {
  if (strategy === 'per-step') return `Try [0, ${steps}], or more steps.`;
  if (strategy === 'fixed') return `Try ${steps - 1} (the last step), anything lower, or 0 (all steps).`;
  if (steps === 1) return `Try backprop_strategy 'fixed' with truncated_backprop_timestep 0.`;
  if (strategy === 'uniform') return `Try backprop_kwargs {uniform: {min: 0, max: ${steps}}}.`;
  return `Try backprop_kwargs {gaussian: {mean: ${(0.84 * steps).toFixed(2)}, std: ${(0.1 * steps).toFixed(2)}}}.`;
}
