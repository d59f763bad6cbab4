import {
  abs,
  add,
  clipByValue,
  div,
  maximum,
  minimum,
  mul,
  neg,
  onesLike,
  reshape,
  sub,
  type Tensor2D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { alphasCumprod, betaSchedules, type BetaConfig } from './betas.js';
import { knownFields, resolveConfig } from './scheduler-config.js';
import { addNoise, alphaAt, velocity } from './noise-level.js';
import { quantile } from './quantile.js';
import type { Scheduler, SchedulerConfig, Step, StepCoefficients, StepOptions, StepOutput } from './scheduler.js';
import { spacedTimesteps, timestepSpacings, type SpacingConfig } from './spacing.js';

const { fround } = Math;
const predictionTypes = ['epsilon', 'v_prediction', 'sample'] as const;

/** Options of `DDIMScheduler`, under diffusers' names in `scheduler_config.json`. */
export type DDIMConfig = BetaConfig &
  SpacingConfig & {
    /** Clips the predicted x_0 to ±`clip_sample_range`. */
    clip_sample: boolean;
    clip_sample_range: number;
    /** Whether ᾱ after the last step is 1 (true) or ᾱ_0 (false). */
    set_alpha_to_one: boolean;
    prediction_type: (typeof predictionTypes)[number];
    /** Dynamic thresholding of the predicted x_0 (arXiv 2205.11487, §2.3); replaces clipping. */
    thresholding: boolean;
    dynamic_thresholding_ratio: number;
    sample_max_value: number;
    rescale_betas_zero_snr: boolean;
  };

const defaults: DDIMConfig = {
  num_train_timesteps: 1000,
  beta_start: 0.0001,
  beta_end: 0.02,
  beta_schedule: 'linear',
  trained_betas: null,
  clip_sample: true,
  set_alpha_to_one: true,
  steps_offset: 0,
  prediction_type: 'epsilon',
  thresholding: false,
  dynamic_thresholding_ratio: 0.995,
  clip_sample_range: 1,
  sample_max_value: 1,
  timestep_spacing: 'leading',
  rescale_betas_zero_snr: false,
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
export class DDIMScheduler implements Scheduler {
  readonly config: Readonly<DDIMConfig> & SchedulerConfig;
  readonly initNoiseSigma = 1;
  readonly historyLength = 0;
  readonly #alphasCumprod: Float32Array;

  /** @throws if an option has the wrong type or an unsupported value */
  constructor(config: Partial<DDIMConfig> = {}) {
    this.config = resolveConfig('DDIMScheduler', defaults, config, {
      beta_schedule: betaSchedules,
      timestep_spacing: timestepSpacings,
      prediction_type: predictionTypes,
    });
    const { dynamic_thresholding_ratio: ratio } = this.config;
    if (!(ratio >= 0 && ratio <= 1))
      throw new Error(`DDIMScheduler: dynamic_thresholding_ratio got ${ratio}, expected 0 to 1.`);
    this.#alphasCumprod = alphasCumprod('DDIMScheduler', this.config);
  }

  /**
   * Creates a DDIM scheduler with the noise schedule of another scheduler. Takes the fields that DDIM has, except
   * defaults that the other class filled in, as diffusers does.
   */
  static fromConfig(config: SchedulerConfig): DDIMScheduler {
    return new DDIMScheduler(knownFields(defaults, config));
  }

  timesteps(numInferenceSteps: number): readonly Step[] {
    const stride = Math.floor(this.config.num_train_timesteps / numInferenceSteps);
    return spacedTimesteps('DDIMScheduler.timesteps', this.config, numInferenceSteps).map((t, index) => ({
      index,
      t,
      prev: t - stride,
    }));
  }

  coefficients(step: Step, eta = 0): StepCoefficients {
    const { clip_sample, thresholding, prediction_type } = this.config;
    if (clip_sample || thresholding) {
      const option = thresholding ? 'thresholding' : 'clip_sample';
      throw new Error(`DDIMScheduler.coefficients: ${option} got true, expected false for a linear step. Use step().`);
    }
    const { alpha, alphaPrev, sigma, direction } = this.#factors(step, eta);
    const [signal, noise, signalPrev] = [Math.sqrt(alpha), Math.sqrt(1 - alpha), Math.sqrt(alphaPrev)];
    // Formula (12) with x_0 and ε as linear combinations of x_t and the model output.
    if (prediction_type === 'sample') {
      return { sample: direction / noise, modelOutput: signalPrev - (direction * signal) / noise, noise: sigma };
    }
    if (prediction_type === 'v_prediction') {
      return {
        sample: signalPrev * signal + direction * noise,
        modelOutput: direction * signal - signalPrev * noise,
        noise: sigma,
      };
    }
    return { sample: signalPrev / signal, modelOutput: direction - (signalPrev * noise) / signal, noise: sigma };
  }

  /** @throws if `eta` is above 0 without noise, or the schedule has no such timestep */
  step(
    modelOutput: Tensor4D,
    step: Step,
    sample: Tensor4D,
    { eta = 0, noise, useClippedModelOutput = false }: DDIMStepOptions = {},
  ): StepOutput {
    // The numbers are those of the comments in diffusers' step().
    // 1. and 2. previous timestep, α and β = 1 - α; 5. σ_t(η) of formula (16)
    const { alpha, alphaPrev, sigma, direction } = this.#factors(step, eta);
    // 3. "predicted x_0" of formula (12), and ε
    const { original, epsilon } = this.#predict(modelOutput, sample, alpha);
    // 4. clip or threshold "predicted x_0"
    const predOriginalSample = this.#bound(original);
    const predEpsilon = useClippedModelOutput ? noiseOf(sample, predOriginalSample, alpha) : epsilon;
    // 6. "direction pointing to x_t" of formula (12)
    const predSampleDirection = mul(predEpsilon, direction);
    // 7. x_{t-1} without, then with "random noise" of formula (12)
    const mean: Tensor4D = add(mul(predOriginalSample, Math.sqrt(alphaPrev)), predSampleDirection);
    if (eta === 0) return { prevSample: mean, predOriginalSample };
    if (!noise)
      throw new Error(`DDIMScheduler.step: eta got ${eta} without noise. Pass noise of the sample's shape, or eta 0.`);
    return { prevSample: add(mean, mul(noise, sigma)), predOriginalSample };
  }

  addNoise(original: Tensor4D, noise: Tensor4D, timesteps: readonly number[]): Tensor4D {
    return addNoise(original, noise, this.#alphasAt(timesteps));
  }

  /** Returns the target of a v-prediction model: √ᾱ_t · noise - √(1 - ᾱ_t) · sample. */
  getVelocity(sample: Tensor4D, noise: Tensor4D, timesteps: readonly number[]): Tensor4D {
    return velocity(sample, noise, this.#alphasAt(timesteps));
  }

  #factors(step: Step, eta: number): Factors {
    const alpha = this.#alphaAt(step.t);
    const alphaPrev =
      step.prev >= 0 ? this.#alphaAt(step.prev) : this.config.set_alpha_to_one ? 1 : this.#alphasCumprod[0]!;
    if (alpha === 0 && this.config.prediction_type === 'epsilon') {
      throw new Error(
        `DDIMScheduler: timestep ${step.t} got ᾱ = 0, expected ᾱ > 0: epsilon does not determine x_0 there. ` +
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

  #predict(modelOutput: Tensor4D, sample: Tensor4D, alpha: number): { original: Tensor4D; epsilon: Tensor4D } {
    const [signal, noise] = [Math.sqrt(alpha), Math.sqrt(1 - alpha)];
    if (this.config.prediction_type === 'sample')
      return { original: modelOutput, epsilon: noiseOf(sample, modelOutput, alpha) };
    if (this.config.prediction_type === 'v_prediction') {
      return {
        original: sub(mul(sample, signal), mul(modelOutput, noise)),
        epsilon: add(mul(modelOutput, signal), mul(sample, noise)),
      };
    }
    return { original: div(sub(sample, mul(modelOutput, noise)), signal), epsilon: modelOutput };
  }

  #bound(original: Tensor4D): Tensor4D {
    const {
      thresholding,
      clip_sample,
      clip_sample_range: range,
      dynamic_thresholding_ratio,
      sample_max_value,
    } = this.config;
    if (thresholding) return dynamicThreshold(original, dynamic_thresholding_ratio, sample_max_value);
    return clip_sample ? clipByValue(original, -range, range) : original;
  }

  #alphasAt(timesteps: readonly number[]): number[] {
    return timesteps.map((t) => this.#alphaAt(t));
  }

  #alphaAt(t: number): number {
    return alphaAt('DDIMScheduler', this.#alphasCumprod, t);
  }
}

/** Solves x_t = √α x_0 + √(1 - α) ε for ε. */
const noiseOf = (sample: Tensor4D, original: Tensor4D, alpha: number): Tensor4D =>
  div(sub(sample, mul(original, Math.sqrt(alpha))), Math.sqrt(1 - alpha));

/** Clips each image to ±s and divides by s: its quantile of |x_0|, clipped to [1, max]. s, too, has a gradient. */
function dynamicThreshold(original: Tensor4D, ratio: number, max: number): Tensor4D {
  const flat: Tensor2D = reshape(original, [original.shape[0], -1]); // [B, h·w·C]
  const s = clipByValue(quantile(abs(flat), ratio), Math.min(1, max), max); // [B]
  // Broadcast to [B, h·w·C] here: tfjs's gradients of minimum and maximum do not sum over broadcast axes.
  const bound = mul(reshape(s, [-1, 1]), onesLike(flat));
  return reshape(div(minimum(maximum(flat, neg(bound)), bound), bound), original.shape);
}
