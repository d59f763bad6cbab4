import { add, mul, type Tensor4D } from '@tensorflow/tfjs-core';
import { betaChecks, betaDefaults, type BetaConfig } from './betas.js';
import { linearCoefficients, linearStep, type LinearRule } from './linear-step.js';
import { originalOf, predictionTypes, type PredictionType } from './prediction.js';
import { schedulerClass } from './scheduler-class.js';
import { numberOrNull } from './scheduler-config.js';
import type { Step, StepOptions } from './scheduler.js';
import { derivativeSchedule } from './sigma-schedules.js';
import {
  checkCurves,
  finalSigmasTypes,
  logSpaced,
  sigmaDefaults,
  sigmaSteps,
  trainingSigmas,
  type SigmaConfig,
} from './sigmas.js';
import { timestepSpacings, type SpacingConfig } from './spacing.js';

const name = 'EulerDiscreteScheduler';

/** Options of `EulerDiscreteScheduler`, under diffusers' names in `scheduler_config.json`. */
type EulerConfig = BetaConfig &
  SpacingConfig &
  SigmaConfig & {
    prediction_type: PredictionType;
    /** Whether the noise levels of a chain are interpolated over timesteps, or equidistant in log σ. */
    interpolation_type: 'linear' | 'log_linear';
    /** The ends of a curve of noise levels; those of the chain by default. */
    sigma_min: number | null;
    sigma_max: number | null;
    /** `continuous` takes 0.25 · log σ as the timestep of a v-prediction model, which is not supported. */
    timestep_type: 'discrete' | 'continuous';
    rescale_betas_zero_snr: boolean;
    final_sigmas_type: (typeof finalSigmasTypes)[number];
  };

/** Options of `EulerDiscreteScheduler.step` (arXiv 2206.00364, algorithm 2). */
export interface EulerStepOptions extends StepOptions {
  /** The amount of noise added over the chain before its steps, 0 by default. */
  sChurn?: number;
  /** The range of noise levels where noise is added, from 0 to Infinity by default. */
  sTmin?: number;
  sTmax?: number;
  /** The standard deviation of the noise, 1 by default. */
  sNoise?: number;
}

/** Euler's method on dx/dσ (arXiv 2206.00364): diffusers' `EulerDiscreteScheduler`. */
export const EulerDiscreteScheduler = schedulerClass<EulerConfig, EulerStepOptions>({
  name,
  defaults: {
    ...betaDefaults,
    ...sigmaDefaults,
    prediction_type: 'epsilon',
    interpolation_type: 'linear',
    sigma_min: null,
    sigma_max: null,
    timestep_spacing: 'linspace',
    timestep_type: 'discrete',
    steps_offset: 0,
    rescale_betas_zero_snr: false,
    final_sigmas_type: 'zero',
  },
  checks: {
    ...betaChecks,
    prediction_type: predictionTypes,
    interpolation_type: ['linear', 'log_linear'],
    sigma_min: numberOrNull,
    sigma_max: numberOrNull,
    timestep_spacing: timestepSpacings,
    timestep_type: ['discrete', 'continuous'],
    final_sigmas_type: finalSigmasTypes,
  },
  replacements: { prediction_type: { original_sample: 'sample' } },
  terminalAlpha: 2 ** -24,
  rule: (config, alphas) => {
    checkConfig(config);
    const sigmas = trainingSigmas(alphas);
    return {
      timesteps: (count) => {
        const schedule = derivativeSchedule(`${name}.timesteps`, config, sigmas, count);
        const final = config.final_sigmas_type === 'zero' ? 0 : sigmas[0]!;
        if (config.interpolation_type === 'linear') return sigmaSteps(schedule, final);
        const levels = logSpaced(sigmas.at(-1)!, sigmas[0]!, count + 1);
        return sigmaSteps({ ...schedule, sigmas: levels }, final);
      },
      inputSigma: ({ index, sigmas: levels }) => levels![index]!,
      coefficients: (step) => linearCoefficients(eulerRule(config, step, step.sigmas![step.index]!)),
      step: (modelOutput, step, sample, options) => {
        const { sigma, churned } = churn(step, sample, options);
        return linearStep(eulerRule(config, step, sigma), { modelOutput, sample: churned }, undefined);
      },
    };
  },
});

/** A step from the sample at a noise level to the next level of the chain. */
function eulerRule({ prediction_type }: EulerConfig, { index, sigmas }: Step, sigma: number): LinearRule {
  // The model saw the level of the chain: v is predicted there, also where noise was added.
  const level = prediction_type === 'v_prediction' ? sigmas![index]! : sigma;
  const ratio = sigmas![index + 1]! / sigma;
  return {
    original: originalOf(prediction_type, { signal: 1, noise: level }),
    next: { original: 1 - ratio, sample: ratio, modelOutput: 0, noise: 0 },
  };
}

/** Adds noise to the sample, up to a higher noise level. */
function churn(
  { index, sigmas }: Step,
  sample: Tensor4D,
  { sChurn = 0, sTmin = 0, sTmax = Infinity, sNoise = 1, noise }: EulerStepOptions,
): { sigma: number; churned: Tensor4D } {
  const sigma = sigmas![index]!;
  const isInRange = sTmin <= sigma && sigma <= sTmax;
  const gamma = isInRange ? Math.min(sChurn / (sigmas!.length - 1), Math.SQRT2 - 1) : 0;
  if (gamma <= 0) return { sigma, churned: sample };
  if (!noise)
    throw new Error(`${name}.step: sChurn got ${sChurn} without noise. Pass noise of the sample's shape, or sChurn 0.`);
  const raised = sigma * (gamma + 1);
  return { sigma: raised, churned: add(sample, mul(noise, sNoise * Math.sqrt(raised ** 2 - sigma ** 2))) };
}

/** @throws if options contradict one another */
function checkConfig(config: EulerConfig): void {
  checkCurves(name, config);
  if (config.timestep_type === 'continuous' && config.prediction_type === 'v_prediction')
    throw new Error(
      `${name}: timestep_type got continuous with v_prediction, expected discrete. ` +
        'Set timestep_type to discrete if the model takes training timesteps.',
    );
}
