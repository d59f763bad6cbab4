import { alphaAt } from './noise-level.js';
import { betaChecks, betaDefaults, betaSchedules, type BetaConfig } from './betas.js';
import { linearCoefficients, linearStep, type LinearRule } from './linear-step.js';
import {
  clipBound,
  levelsOf,
  originalOf,
  predictionTypes,
  thresholdBound,
  thresholdChecks,
  thresholdDefaults,
  type ClipConfig,
  type PredictionType,
  type ThresholdConfig,
} from './prediction.js';
import { refuseBound, schedulerClass } from './scheduler-class.js';
import type { Step } from './scheduler.js';
import { spacedTimesteps, timestepSpacings, type SpacingConfig } from './spacing.js';

const name = 'DDPMScheduler';
const varianceTypes = ['fixed_small', 'fixed_small_log', 'fixed_large', null] as const;

/** Options of `DDPMScheduler`, under diffusers' names in `scheduler_config.json`. */
type DDPMConfig = BetaConfig &
  SpacingConfig &
  ClipConfig &
  ThresholdConfig & {
    /** The variance of the noise: β̃_t for `fixed_small`, `fixed_small_log` and null, β_t for `fixed_large`. */
    variance_type: (typeof varianceTypes)[number];
    prediction_type: PredictionType;
    rescale_betas_zero_snr: boolean;
  };

/**
 * Denoising diffusion probabilistic models (arXiv 2006.11239): diffusers' `DDPMScheduler`. Between the timesteps of a
 * chain it takes the step of a schedule that has these alone. Models that predict variances are not supported.
 */
export const DDPMScheduler = schedulerClass<DDPMConfig>({
  name,
  defaults: {
    ...betaDefaults,
    variance_type: 'fixed_small',
    clip_sample: true,
    prediction_type: 'epsilon',
    ...thresholdDefaults,
    clip_sample_range: 1,
    timestep_spacing: 'leading',
    steps_offset: 0,
    rescale_betas_zero_snr: false,
  },
  checks: {
    ...betaChecks,
    beta_schedule: [...betaSchedules, 'laplace', 'sigmoid'],
    variance_type: varianceTypes,
    timestep_spacing: timestepSpacings,
    prediction_type: predictionTypes,
    ...thresholdChecks,
  },
  rule: (config, alphas) => {
    const bound = thresholdBound(config) ?? clipBound(config);
    return {
      timesteps: (count) => {
        const spaced = spacedTimesteps(`${name}.timesteps`, config, count);
        return spaced.map((t, index) => ({ index, t, prev: spaced[index + 1] ?? -1 }));
      },
      drawsNoise: ({ t }) => t > 0,
      coefficients: (step) => {
        refuseBound(name, bound);
        return linearCoefficients(ddpmRule(config, alphas, step));
      },
      step: (modelOutput, step, sample, { noise }) =>
        linearStep(
          ddpmRule(config, alphas, step),
          { modelOutput, sample, noise: step.t > 0 ? noise : undefined },
          bound,
        ),
    };
  },
});

/** Formula (7) for x_{t-1}, with the variances of section 3.2. */
function ddpmRule(config: DDPMConfig, alphas: Float32Array, { t, prev }: Step): LinearRule {
  const alpha = alphaAt(name, alphas, t);
  const alphaPrev = prev >= 0 ? alphaAt(name, alphas, prev) : 1;
  const beta = 1 - alpha / alphaPrev;
  const small = Math.max(((1 - alphaPrev) / (1 - alpha)) * beta, 1e-20);
  return {
    original: originalOf(config.prediction_type, levelsOf(alpha)),
    next: {
      original: (Math.sqrt(alphaPrev) * beta) / (1 - alpha),
      sample: (Math.sqrt(alpha / alphaPrev) * (1 - alphaPrev)) / (1 - alpha),
      modelOutput: 0,
      noise: t > 0 ? Math.sqrt(config.variance_type === 'fixed_large' ? beta : small) : 0,
    },
  };
}
