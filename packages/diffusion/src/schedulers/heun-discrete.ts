import { betaChecks, betaDefaults, betaSchedules, type BetaConfig } from './betas.js';
import { combine } from './combination.js';
import { clipBound, predictOriginal, predictionTypes, type ClipConfig, type PredictionType } from './prediction.js';
import { newestCalls, noCoefficients, schedulerClass } from './scheduler-class.js';
import type { ModelCall } from './scheduler.js';
import { derivativeSchedule } from './sigma-schedules.js';
import { checkCurves, sigmaDefaults, trainingSigmas, type SigmaConfig } from './sigmas.js';
import { timestepSpacings, type SpacingConfig } from './spacing.js';
import { placeOf, twoCallsAfter, twoCallSteps } from './two-call-steps.js';

const name = 'HeunDiscreteScheduler';

/** Options of `HeunDiscreteScheduler`, under diffusers' names in `scheduler_config.json`. */
type HeunConfig = BetaConfig & SpacingConfig & SigmaConfig & ClipConfig & { prediction_type: PredictionType };

/**
 * Heun's method on dx/dσ (arXiv 2206.00364, algorithm 1): diffusers' `HeunDiscreteScheduler`. A step takes two model
 * calls: one goes to the next level, the other repeats the step with the mean of the slopes at both ends.
 */
export const HeunDiscreteScheduler = schedulerClass<HeunConfig>({
  name,
  defaults: {
    ...betaDefaults,
    ...sigmaDefaults,
    beta_start: 0.00085,
    beta_end: 0.012,
    prediction_type: 'epsilon',
    clip_sample: false,
    clip_sample_range: 1,
    timestep_spacing: 'linspace',
    steps_offset: 0,
  },
  checks: {
    ...betaChecks,
    beta_schedule: [...betaSchedules, 'exp'],
    prediction_type: predictionTypes,
    timestep_spacing: timestepSpacings,
  },
  rule: (config, alphas) => {
    checkCurves(name, config);
    const sigmas = trainingSigmas(alphas);
    const bound = clipBound(config);
    const originalAt = (sigma: number, call: ModelCall) =>
      predictOriginal(config.prediction_type, { signal: 1, noise: sigma }, call, bound);
    return {
      historyLength: 1,
      callsAfter: twoCallsAfter,
      timesteps: (count) => {
        const schedule = derivativeSchedule(`${name}.timesteps`, config, sigmas, count);
        return twoCallSteps(schedule, schedule.timesteps.slice(1));
      },
      inputSigma: (step) => {
        const { level, isSecond } = placeOf(step);
        return step.sigmas![isSecond ? level + 1 : level]!;
      },
      coefficients: noCoefficients(name),
      step: (modelOutput, step, sample, { history }) => {
        const { level, isSecond } = placeOf(step);
        const [from, to] = [step.sigmas![level]!, step.sigmas![level + 1]!];
        if (!isSecond) {
          const predOriginalSample = originalAt(from, { sample, modelOutput });
          const ratio = to / from;
          const prevSample = combine([
            [ratio, sample],
            [1 - ratio, predOriginalSample],
          ]);
          return { prevSample, predOriginalSample };
        }
        const [first] = newestCalls(name, step, history, 1);
        const firstOriginal = originalAt(from, first!);
        const predOriginalSample = originalAt(to, { sample, modelOutput });
        const half = (to - from) / 2;
        const prevSample = combine([
          [1 + half / from, first!.sample],
          [-half / from, firstOriginal],
          [half / to, sample],
          [-half / to, predOriginalSample],
        ]);
        return { prevSample, predOriginalSample };
      },
    };
  },
});
