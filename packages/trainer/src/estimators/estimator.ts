import type { Plan } from './plans.js';

/** The options of `AlignPropConfig` that decide where the gradient enters the model, and what the reward judges. */
export interface BackpropOptions {
  readonly sample_num_steps: number;
  readonly estimator?: string | undefined;
  readonly estimator_steps?: number | null | undefined;
  readonly estimator_copies?: number | null | undefined;
  readonly estimator_last?: number | null | undefined;
  readonly estimator_late_bias?: number | null | undefined;
  readonly estimator_rescale?: number | null | undefined;
  readonly estimator_coupling?: number | null | undefined;
  readonly estimator_order?: number | null | undefined;
  readonly estimator_floor?: number | null | undefined;
  readonly estimator_images?: string | undefined;
  readonly truncated_backprop_rand: boolean;
  readonly truncated_backprop_timestep: number;
  readonly truncated_rand_backprop_minmax: readonly [number, number];
  readonly backprop_strategy?: string | undefined;
  readonly backprop_kwargs: {
    readonly gaussian: { readonly mean: number; readonly std: number };
    readonly uniform: { readonly min: number; readonly max: number };
    readonly fixed?: { readonly value: number } | undefined;
  };
}

export type BackpropOption = keyof BackpropOptions;

/** The values of `estimator_images`, the default first. */
export const imageSources = ['chain', 'dataset'] as const;

/** The options that some estimators read. */
export const estimatorParameters = [
  'estimator_steps',
  'estimator_copies',
  'estimator_last',
  'estimator_late_bias',
  'estimator_rescale',
  'estimator_coupling',
  'estimator_order',
  'estimator_floor',
  'estimator_images',
] as const satisfies readonly BackpropOption[];

export type EstimatorParameter = (typeof estimatorParameters)[number];

/** Why an option is refused. */
export interface OptionProblem {
  readonly key: BackpropOption;
  readonly message: string;
}

/** A way to estimate the gradient of the reward, as the options of a configuration describe it. */
export interface Estimator {
  /** The options that it reads, of `estimatorParameters`. */
  readonly parameters: readonly EstimatorParameter[];
  plan(options: BackpropOptions): Plan;
  /** Checks options beyond what their schema does; none by default. */
  problems?(options: BackpropOptions): readonly OptionProblem[];
  /** Refuses a plan whose draws are mostly empty; needed where plans can be empty. */
  emptyPlan?: {
    /** The option to report, and its value. */
    cause(options: BackpropOptions): { readonly key: BackpropOption; readonly value: string };
    /** Options that attach a step more often, as a sentence. */
    advice(steps: number): string;
  };
}

/** Refuses chains of fewer steps than an estimator needs. */
export function needsSteps(
  name: string,
  least: number,
  { sample_num_steps: steps }: BackpropOptions,
): readonly OptionProblem[] {
  if (steps >= least) return [];
  const message = `got ${steps}, expected ${least} or more for the estimator '${name}'. Use 'draft-k', or more steps.`;
  return [{ key: 'sample_num_steps', message }];
}
