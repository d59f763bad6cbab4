import type { Tensor4D } from '@tensorflow/tfjs-core';
import { betaChecks, betaDefaults, type BetaConfig } from './betas.js';
import { combine, type Term } from './combination.js';
import { predictOriginal } from './prediction.js';
import { newestCalls, noCoefficients, schedulerClass } from './scheduler-class.js';
import type { FieldChecks } from './scheduler-config.js';
import type { Step, StepOptions, StepOutput } from './scheduler.js';
import { derivativeSchedule } from './sigma-schedules.js';
import {
  checkCurves,
  rounded,
  sigmaDefaults,
  timestepOf,
  trainingSigmas,
  type SigmaConfig,
  type SigmaSchedule,
} from './sigmas.js';
import { timestepSpacings, type SpacingConfig } from './spacing.js';
import { placeOf, twoCallsAfter, twoCallSteps } from './two-call-steps.js';

const predictionTypes = ['epsilon', 'v_prediction'] as const;

/** Options of the schedulers of the midpoint rule, under diffusers' names in `scheduler_config.json`. */
type MidpointConfig = BetaConfig & SpacingConfig & SigmaConfig & { prediction_type: (typeof predictionTypes)[number] };

const midpointDefaults: MidpointConfig = {
  ...betaDefaults,
  ...sigmaDefaults,
  beta_start: 0.00085,
  beta_end: 0.012,
  prediction_type: 'epsilon',
  timestep_spacing: 'linspace',
  steps_offset: 0,
};

const midpointChecks: FieldChecks<MidpointConfig> = {
  ...betaChecks,
  prediction_type: predictionTypes,
  timestep_spacing: timestepSpacings,
};

/** The noise levels of one step of the midpoint rule. */
interface MidpointLevels {
  readonly from: number;
  /** The level of the second model call, between `from` and `to`. */
  readonly middle: number;
  readonly to: number;
  /** The standard deviation of the noise that is added after the step. */
  readonly up: number;
}

/** Returns the levels of a step from one noise level of the chain to the next. */
type MidpointRule = (from: number, to: number) => MidpointLevels;

/** Returns the level half-way between two levels in log σ. */
export const logMidpoint = (from: number, to: number): number => (to > 0 ? Math.sqrt(from * to) : 0);

/**
 * Creates a class of the midpoint rule, whose steps take two model calls.
 * @param options.isAncestral whether noise is added after every step
 */
export function midpointScheduler(name: string, rule: MidpointRule, { isAncestral = false } = {}) {
  return schedulerClass<MidpointConfig>({
    name,
    defaults: midpointDefaults,
    checks: midpointChecks,
    rule: (config, alphas) => {
      checkCurves(name, config);
      const sigmas = trainingSigmas(alphas);
      return {
        historyLength: 1,
        callsAfter: twoCallsAfter,
        timesteps: (count) => midpointSteps(`${name}.timesteps`, config, sigmas, count, rule),
        inputSigma: (step) => midpointInput(step, rule),
        drawsNoise: (step) => isAncestral && placeOf(step).isSecond,
        coefficients: noCoefficients(name),
        step: (modelOutput, step, sample, options) =>
          midpointStep(name, config, rule, { modelOutput, step, sample }, options),
      };
    },
  });
}

/**
 * Returns the steps of a chain of the midpoint rule.
 * @param sigmas the noise levels of all training timesteps
 */
function midpointSteps(
  owner: string,
  config: MidpointConfig,
  sigmas: Float32Array,
  count: number,
  rule: MidpointRule,
): readonly Step[] {
  const exact = derivativeSchedule(owner, config, sigmas, count);
  const schedule: SigmaSchedule = config.use_karras_sigmas ? { ...exact, timesteps: rounded(exact.timesteps) } : exact;
  const levels = schedule.sigmas.map(Math.fround);
  const middles = levels.map((sigma, i) => timestepOf(sigmas, rule(sigma, levels[i + 1] ?? 0).middle));
  return twoCallSteps(schedule, middles);
}

/** Returns the noise level of the model's input. */
function midpointInput(step: Step, rule: MidpointRule): number {
  const { from, middle, isSecond } = levelsAt(step, rule);
  return isSecond ? middle : from;
}

/** Takes a step: the first call goes half-way, the second repeats the step with the slope found there. */
function midpointStep(
  owner: string,
  { prediction_type }: MidpointConfig,
  rule: MidpointRule,
  { modelOutput, step, sample }: { modelOutput: Tensor4D; step: Step; sample: Tensor4D },
  { history, noise }: StepOptions,
): StepOutput {
  const { from, middle, to, up, isSecond } = levelsAt(step, rule);
  const sigma = isSecond ? middle : from;
  const predOriginalSample = predictOriginal(
    prediction_type,
    { signal: 1, noise: sigma },
    { sample, modelOutput },
    undefined,
  );
  const start = isSecond ? newestCalls(owner, step, history, 1)[0]!.sample : sample;
  const slope = ((isSecond ? to : middle) - from) / sigma;
  const terms: Term[] = [
    [1, start],
    [slope, sample],
    [-slope, predOriginalSample],
  ];
  if (isSecond && noise && up > 0) terms.push([up, noise]);
  return { prevSample: combine(terms), predOriginalSample };
}

function levelsAt(step: Step, rule: MidpointRule): MidpointLevels & { isSecond: boolean } {
  const { level, isSecond } = placeOf(step);
  return { ...rule(step.sigmas![level]!, step.sigmas![level + 1]!), isSecond };
}
