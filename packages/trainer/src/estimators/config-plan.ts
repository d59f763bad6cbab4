import {
  estimatorParameters,
  imageSources,
  type BackpropOptions,
  type Estimator,
  type OptionProblem,
} from './estimator.js';
import { estimators, type EstimatorName } from './estimators.js';
import { emptyProbability, type Plan } from './plans.js';

/** Configurations whose draws are empty more often are refused; below, empty draws are drawn again. */
export const maxEmptyProbability = 0.5;

/** The plan that a configuration describes. */
export const backpropPlan = (options: BackpropOptions): Plan => chosenEstimator(options).plan(options);

/**
 * Checks the options of an estimator, and whether the gradient reaches the model at all in `sample_num_steps` steps (a
 * check that TRL's documentation promises, but TRL does not make).
 */
export function checkBackpropPlan(options: BackpropOptions): readonly OptionProblem[] {
  const problems = [...contradictions(options), ...outOfRange(options)];
  if (problems.length > 0) return problems;
  const { sample_num_steps: steps } = options;
  const { plan, emptyPlan } = chosenEstimator(options);
  const empty = emptyProbability(plan(options), steps);
  if (empty <= maxEmptyProbability || !emptyPlan) return [];
  const { key, value } = emptyPlan.cause(options);
  const percent = `${(100 * empty).toFixed(1)} %`;
  const message =
    `got ${value}: with sample_num_steps ${steps} the gradient reaches no step of ${percent} of the trajectories. ` +
    emptyPlan.advice(steps);
  return [{ key, message }];
}

const chosenName = ({ estimator, backprop_strategy, truncated_backprop_rand }: BackpropOptions): EstimatorName =>
  (estimator ?? backprop_strategy ?? (truncated_backprop_rand ? 'per-step' : 'fixed')) as EstimatorName;

const chosenEstimator = (options: BackpropOptions): Estimator => estimators[chosenName(options)];

/** Options that say different things, or that the estimator does not read. */
function contradictions(options: BackpropOptions): readonly OptionProblem[] {
  const { estimator, backprop_strategy: strategy } = options;
  const problems: OptionProblem[] = [];
  if (estimator && strategy && estimator !== strategy) {
    const message = `got '${strategy}' beside estimator '${estimator}'. Keep one.`;
    problems.push({ key: 'backprop_strategy', message });
  }
  const { parameters } = chosenEstimator(options);
  for (const key of estimatorParameters) {
    if (isUnset(options[key]) || parameters.includes(key)) continue;
    const message = `got ${options[key]}, which the estimator '${chosenName(options)}' does not read. Leave it out.`;
    problems.push({ key, message });
  }
  return problems;
}

const isUnset = (value: unknown): boolean => [undefined, null, imageSources[0]].includes(value as never);

function outOfRange(options: BackpropOptions): readonly OptionProblem[] {
  const problems = chosenEstimator(options).problems?.(options) ?? [];
  if (problems.length > 0) return problems;
  const { sample_num_steps: steps } = options;
  return (['estimator_steps', 'estimator_last'] as const)
    .filter((key) => (options[key] ?? 0) > steps)
    .map((key) => ({ key, message: `got ${options[key]}, expected at most sample_num_steps, ${steps}.` }));
}
