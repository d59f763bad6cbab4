import { fixed, gaussian, uniform } from './cuts.js';
import { draftLV, drTune, emptyProbability, full, lastK, perStep, perTrajectory, refl, type Plan } from './plans.js';

export const backpropStrategies = ['per-step', 'fixed', 'uniform', 'gaussian'] as const;
/** By the name that the AlignProp authors' code has for it. */
export type BackpropStrategy = (typeof backpropStrategies)[number];

export const estimators = [...backpropStrategies, 'full', 'draft-k', 'draft-lv', 'refl', 'drtune'] as const;
/** How the reward's gradient is estimated. */
export type Estimator = (typeof estimators)[number];

/** The options that decide where the gradient enters the model, and what the reward is shown. */
export interface BackpropOptions {
  readonly sample_num_steps: number;
  readonly estimator?: Estimator | undefined;
  readonly estimator_steps?: number | null | undefined;
  readonly estimator_copies?: number | null | undefined;
  readonly estimator_last?: number | null | undefined;
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

type Key = keyof BackpropOptions;

/** An estimator as options describe it. */
interface Preset {
  /** The option that its bounds come from; a problem of theirs is reported there. */
  readonly key: Key;
  /** Those of `estimator_…` that it reads. */
  readonly parameters: readonly Key[];
  readonly plan: (options: BackpropOptions) => Plan;
}

/** What papers and their code use, at `steps` denoising steps. */
const defaults = {
  draftK: () => 1,
  draftLV: () => 2,
  reflLast: (steps: number) => Math.max(1, Math.round(steps / 4)), // 10 of 40
  drTuneSteps: (steps: number) => Math.min(3, steps),
  drTuneLast: (steps: number) => Math.max(1, Math.round(0.4 * steps)),
};

const presets: Readonly<Record<Estimator, Preset>> = {
  'per-step': preset('truncated_rand_backprop_minmax', ({ truncated_rand_backprop_minmax: [min, max] }) =>
    perStep(uniform(min, max + 1)),
  ),
  fixed: preset('truncated_backprop_timestep', ({ truncated_backprop_timestep: timestep, backprop_kwargs: kwargs }) =>
    perTrajectory('fixed', fixed(kwargs.fixed?.value ?? timestep)),
  ),
  // The authors' code draws again until 1 <= cut < T.
  uniform: preset('backprop_kwargs', ({ backprop_kwargs: { uniform: kwargs } }) =>
    perTrajectory('uniform', uniform(kwargs.min, kwargs.max), 1),
  ),
  gaussian: preset('backprop_kwargs', ({ backprop_kwargs: { gaussian: kwargs } }) =>
    perTrajectory('gaussian', gaussian(kwargs.mean, kwargs.std), 1),
  ),
  full: preset('estimator', full),
  'draft-k': preset('estimator_steps', ({ estimator_steps: count }) => lastK(count ?? defaults.draftK()), [
    'estimator_steps',
  ]),
  'draft-lv': preset('estimator_copies', ({ estimator_copies: copies }) => draftLV(copies ?? defaults.draftLV()), [
    'estimator_copies',
  ]),
  refl: preset(
    'estimator_last',
    ({ sample_num_steps: steps, estimator_last: last }) => refl(last ?? defaults.reflLast(steps)),
    ['estimator_last'],
  ),
  drtune: preset(
    'estimator_steps',
    ({ sample_num_steps: steps, estimator_steps: count, estimator_last: last }) =>
      drTune(count ?? defaults.drTuneSteps(steps), last ?? defaults.drTuneLast(steps)),
    ['estimator_steps', 'estimator_last'],
  ),
};

function preset(key: Key, plan: Preset['plan'], parameters: readonly Key[] = []): Preset {
  return { key, plan, parameters };
}

const estimatorOf = (options: BackpropOptions): Estimator =>
  options.estimator ?? options.backprop_strategy ?? (options.truncated_backprop_rand ? 'per-step' : 'fixed');

/** The plan that a configuration describes. */
export const backpropPlan = (options: BackpropOptions): Plan => presets[estimatorOf(options)].plan(options);

/** Above this probability of an empty draw a configuration is refused; below, empty draws are drawn again. */
export const maxEmptyProbability = 0.5;

interface Problem {
  readonly key: Key;
  readonly message: string;
}

/**
 * The check that TRL's documentation promises: does the gradient reach the model at all in `sample_num_steps` steps?
 */
export function checkBackpropPlan(options: BackpropOptions): readonly Problem[] {
  const problems = [...contradictions(options), ...outOfRange(options)];
  if (problems.length > 0) return problems;
  const {
    sample_num_steps: steps,
    truncated_rand_backprop_minmax: [min, max],
    backprop_kwargs: kwargs,
  } = options;
  const estimator = estimatorOf(options);
  const empty = emptyProbability(backpropPlan(options), steps);
  if (empty <= maxEmptyProbability) return [];
  const key = estimator === 'fixed' && kwargs.fixed ? 'backprop_kwargs' : presets[estimator].key;
  const value =
    estimator === 'per-step'
      ? `[${min}, ${max}]`
      : estimator === 'fixed'
        ? (kwargs.fixed?.value ?? options.truncated_backprop_timestep)
        : estimator;
  const percent = `${(100 * empty).toFixed(1)} %`;
  return [
    {
      key,
      message: `got ${value}: with sample_num_steps ${steps} the gradient reaches no step of ${percent} of the trajectories. ${advice(estimator, steps)}`,
    },
  ];
}

/** Options that say different things, or that the estimator does not read. */
function contradictions(options: BackpropOptions): readonly Problem[] {
  const { estimator, backprop_strategy: strategy } = options;
  const chosen = estimatorOf(options);
  const two =
    estimator && strategy && estimator !== strategy
      ? [{ key: 'backprop_strategy' as const, message: `got '${strategy}' beside estimator '${estimator}'. Keep one.` }]
      : [];
  const unread = (['estimator_steps', 'estimator_copies', 'estimator_last'] as const).filter(
    (key) => typeof options[key] === 'number' && !presets[chosen].parameters.includes(key),
  );
  return [
    ...two,
    ...unread.map((key) => ({
      key,
      message: `got ${options[key]}, which the estimator '${chosen}' does not read. Leave it out.`,
    })),
  ];
}

function outOfRange(options: BackpropOptions): readonly Problem[] {
  const {
    sample_num_steps: steps,
    truncated_rand_backprop_minmax: [min, max],
    backprop_kwargs: { uniform: bounds },
  } = options;
  const estimator = estimatorOf(options);
  if (estimator === 'per-step' && min > max)
    return [{ key: 'truncated_rand_backprop_minmax', message: `got [${min}, ${max}], expected min <= max.` }];
  if (estimator === 'uniform' && bounds.min >= bounds.max) {
    return [
      { key: 'backprop_kwargs', message: `uniform got min ${bounds.min} and max ${bounds.max}, expected min < max.` },
    ];
  }
  const beyond = (['estimator_steps', 'estimator_last'] as const).filter((key) => (options[key] ?? 0) > steps);
  return beyond.map((key) => ({ key, message: `got ${options[key]}, expected at most sample_num_steps, ${steps}.` }));
}

function advice(estimator: Estimator, steps: number): string {
  if (estimator === 'per-step') return `Try [0, ${steps}], or more steps.`;
  if (estimator === 'fixed') return `Try ${steps - 1} (the last step), anything lower, or 0 (all steps).`;
  if (steps === 1) return `Try backprop_strategy 'fixed' with truncated_backprop_timestep 0.`;
  if (estimator === 'uniform') return `Try backprop_kwargs {uniform: {min: 0, max: ${steps}}}.`;
  return `Try backprop_kwargs {gaussian: {mean: ${(0.84 * steps).toFixed(2)}, std: ${(0.1 * steps).toFixed(2)}}}.`;
}
