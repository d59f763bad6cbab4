import { alphaAt } from './noise-level.js';
import { betaChecks, betaDefaults, type BetaConfig } from './betas.js';
import { linearCoefficients, linearStep, type LinearRule } from './linear-step.js';
import {
  clipBound,
  epsilonOf,
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
import type { Scheduler, Step, StepOptions } from './scheduler.js';
import { spacedTimesteps, timestepSpacings, type SpacingConfig } from './spacing.js';

const { fround } = Math;
const name = 'DDIMScheduler';

/** Options of `DDIMScheduler`, under diffusers' names in `scheduler_config.json`. */
export type DDIMConfig = BetaConfig &
  SpacingConfig &
  ClipConfig &
  ThresholdConfig & {
    /** Whether ᾱ after the last step is 1 (true) or ᾱ_0 (false). */
    set_alpha_to_one: boolean;
    prediction_type: PredictionType;
    rescale_betas_zero_snr: boolean;
  };

/** Options of `DDIMScheduler.step`. */
export interface DDIMStepOptions extends StepOptions {
  /** Recomputes ε from the clipped x_0, as GLIDE does. */
  useClippedModelOutput?: boolean;
}

/** The paper's α_t, α_{t-1} and σ_t(η) of one step, and the factor √(1 - α_{t-1} - σ_t²) of its formula (12). */
interface Factors {
  readonly alpha: number;
  readonly alphaPrev: number;
  readonly sigma: number;
  readonly direction: number;
}

/**
 * Denoising diffusion implicit models (arXiv 2010.02502): diffusers' `DDIMScheduler`.
 *
 * TRL's trainers clamp the previous timestep at 0, so that their last step ends at ᾱ_0 whatever `set_alpha_to_one` is.
 * This class computes the same numbers with `set_alpha_to_one: false`, the setting of every Stable Diffusion model.
 */
export const DDIMScheduler = schedulerClass<DDIMConfig, DDIMStepOptions>({
  name,
  defaults: {
    ...betaDefaults,
    clip_sample: true,
    set_alpha_to_one: true,
    steps_offset: 0,
    prediction_type: 'epsilon',
    ...thresholdDefaults,
    clip_sample_range: 1,
    timestep_spacing: 'leading',
    rescale_betas_zero_snr: false,
  },
  checks: {
    ...betaChecks,
    timestep_spacing: timestepSpacings,
    prediction_type: predictionTypes,
    ...thresholdChecks,
  },
  rule: (config, alphas) => {
    const bound = thresholdBound(config) ?? clipBound(config);
    const rule = (step: Step, eta: number, fromOriginal = false) =>
      ddimRule(config, factorsOf(config, alphas, step, eta), fromOriginal);
    return {
      timesteps: (count) => {
        const stride = Math.floor(config.num_train_timesteps / count);
        return spacedTimesteps(`${name}.timesteps`, config, count).map((t, index) => ({ index, t, prev: t - stride }));
      },
      drawsNoise: (_, eta) => eta !== 0,
      coefficients: (step, eta) => {
        refuseBound(name, bound);
        return linearCoefficients(rule(step, eta));
      },
      step: (modelOutput, step, sample, { eta = 0, noise, useClippedModelOutput }) =>
        linearStep(
          rule(step, eta, useClippedModelOutput),
          { modelOutput, sample, noise: eta === 0 ? undefined : noise },
          bound,
        ),
    };
  },
});

export type DDIMScheduler = Scheduler<DDIMStepOptions>;

/** Formula (12) with x_0 and ε as mixtures of x_t and the model's output; `fromOriginal` takes ε from x_0 instead. */
function ddimRule({ prediction_type }: DDIMConfig, factors: Factors, fromOriginal: boolean): LinearRule {
  const { alpha, alphaPrev, sigma, direction } = factors;
  const levels = levelsOf(alpha);
  const epsilon = fromOriginal
    ? { sample: 1 / levels.noise, modelOutput: 0, original: -levels.signal / levels.noise }
    : { ...epsilonOf(prediction_type, levels), original: 0 };
  return {
    original: originalOf(prediction_type, levels),
    next: {
      original: Math.sqrt(alphaPrev) + direction * epsilon.original,
      sample: direction * epsilon.sample,
      modelOutput: direction * epsilon.modelOutput,
      noise: sigma,
    },
  };
}

function factorsOf(config: DDIMConfig, alphas: Float32Array, step: Step, eta: number): Factors {
  const alpha = alphaAt(name, alphas, step.t);
  const alphaPrev = step.prev >= 0 ? alphaAt(name, alphas, step.prev) : config.set_alpha_to_one ? 1 : alphas[0]!;
  if (alpha === 0 && config.prediction_type === 'epsilon') {
    throw new Error(
      `${name}: timestep ${step.t} got ᾱ = 0, expected ᾱ > 0: epsilon does not determine x_0 there. ` +
        'Use v_prediction, or another timestep_spacing.',
    );
  }
  // Rounds where torch rounds: near ᾱ_t = 0 and η = 1 the direction is a difference of nearly equal numbers, so that
  // its value is all rounding error. The variance is σ_t² of formula (16) at η = 1.
  const variance = fround(fround(fround(1 - alphaPrev) / fround(1 - alpha)) * fround(1 - fround(alpha / alphaPrev)));
  const sigma = fround(eta * fround(Math.sqrt(variance)));
  const squared = fround(fround(1 - alphaPrev) - fround(sigma * sigma));
  return { alpha, alphaPrev, sigma, direction: Math.sqrt(Math.max(squared, 0)) }; // torch: NaN if squared < 0
}
