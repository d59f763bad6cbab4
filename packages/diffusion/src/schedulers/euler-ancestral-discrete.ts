import { betaChecks, betaDefaults, type BetaConfig } from './betas.js';
import { linearCoefficients, linearStep, type LinearRule } from './linear-step.js';
import { originalOf } from './prediction.js';
import { schedulerClass } from './scheduler-class.js';
import type { Step } from './scheduler.js';
import { derivativeSchedule } from './sigma-schedules.js';
import { ancestralLevels, sigmaDefaults, sigmaSteps, trainingSigmas } from './sigmas.js';
import { timestepSpacings, type SpacingConfig } from './spacing.js';

const name = 'EulerAncestralDiscreteScheduler';
const predictionTypes = ['epsilon', 'v_prediction'] as const;

/** Options of `EulerAncestralDiscreteScheduler`, under diffusers' names in `scheduler_config.json`. */
type EulerAncestralConfig = BetaConfig &
  SpacingConfig & {
    prediction_type: (typeof predictionTypes)[number];
    rescale_betas_zero_snr: boolean;
  };

/** Euler's method with fresh noise at every step, as in k-diffusion: diffusers' `EulerAncestralDiscreteScheduler`. */
export const EulerAncestralDiscreteScheduler = schedulerClass<EulerAncestralConfig>({
  name,
  defaults: {
    ...betaDefaults,
    prediction_type: 'epsilon',
    timestep_spacing: 'linspace',
    steps_offset: 0,
    rescale_betas_zero_snr: false,
  },
  checks: { ...betaChecks, prediction_type: predictionTypes, timestep_spacing: timestepSpacings },
  terminalAlpha: 2 ** -24,
  rule: (config, alphas) => {
    const sigmas = trainingSigmas(alphas);
    return {
      timesteps: (count) => {
        const spaced = { ...config, ...sigmaDefaults };
        return sigmaSteps(derivativeSchedule(`${name}.timesteps`, spaced, sigmas, count), 0);
      },
      inputSigma: ({ index, sigmas: levels }) => levels![index]!,
      drawsNoise: () => true,
      coefficients: (step) => linearCoefficients(ancestralRule(config, step)),
      step: (modelOutput, step, sample, { noise }) =>
        linearStep(ancestralRule(config, step), { modelOutput, sample, noise }, undefined),
    };
  },
});

/** A step down to a level below the next one, and noise up to it. */
function ancestralRule({ prediction_type }: EulerAncestralConfig, { index, sigmas }: Step): LinearRule {
  const sigma = sigmas![index]!;
  const { down, up } = ancestralLevels(sigma, sigmas![index + 1]!);
  return {
    original: originalOf(prediction_type, { signal: 1, noise: sigma }),
    next: { original: 1 - down / sigma, sample: down / sigma, modelOutput: 0, noise: up },
  };
}
