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

/** diffusers' options of `DDIMScheduler`, under their names in `scheduler_config.json`. */
export type DDIMConfig = BetaConfig &
  SpacingConfig & {
    /** Whether predicted x_0 is clipped to ±`clip_sample_range`. */
    clip_sample: boolean;
    clip_sample_range: number;
    /** Whether ᾱ after the last step is 1 rather than ᾱ_0. */
    set_alpha_to_one: boolean;
    prediction_type: (typeof predictionTypes)[number];
    /**
     * Whether predicted x_0 is bounded by a quantile of itself (arXiv 2205.11487, §2.3); takes the place of clipping.
     */
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

export interface DDIMStepOptions extends StepOptions {
  /** Whether ε is derived again from the clipped x_0 (as in GLIDE). */
  useClippedModelOutput?: boolean;
}

/** Numbers of one step in the paper's names: α_t, α_{t-1}, σ_t(η), and the factor of "direction pointing to x_t". */
interface Factors {
  readonly alpha: number;
  readonly alphaPrev: number;
  readonly sigma: number;
  readonly direction: number;
}

/**
 * Denoising diffusion implicit models (arXiv 2010.02502), as diffusers' `DDIMScheduler`.
 *
 * TRL's trainers never let `prev` fall below 0, so their last step ends at ᾱ_0 whatever `set_alpha_to_one` says: with
 * `set_alpha_to_one: false`, which every Stable Diffusion has, this class gives their numbers.
 */
export class DDIMScheduler implements Scheduler {
  readonly config: Readonly<DDIMConfig> & SchedulerConfig;
  readonly initNoiseSigma = 1;
  readonly historyLength = 0;
  readonly #alphasCumprod: Float32Array;

  /** @throws if an option has the wrong type or value */
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
   * A DDIM scheduler with the schedule of another one: takes over the fields that DDIM knows and drops the rest.
   * Defaults that the other class filled in are not taken over, as in diffusers.
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
    // x_0 and ε as combinations of (x_t, model output), put into formula (12).
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

  /** @throws if `eta` is above 0 without noise, or the step is not one of this schedule */
  step(
    modelOutput: Tensor4D,
    step: Step,
    sample: Tensor4D,
    { eta = 0, noise, useClippedModelOutput = false }: DDIMStepOptions = {},
  ): StepOutput {
    const { alpha, alphaPrev, sigma, direction } = this.#factors(step, eta); // 1. and 2.: t - 1, α and β = 1 - α
    // 3. "predicted x_0" of formula (12), and ε
    const { original, epsilon } = this.#predict(modelOutput, sample, alpha);
    // 4. clipped or thresholded
    const predOriginalSample = this.#bound(original);
    const pointing = useClippedModelOutput ? noiseOf(sample, predOriginalSample, alpha) : epsilon;
    // 6. "direction pointing to x_t" of formula (12); 5., σ_t of formula (16), is in it
    const predSampleDirection = mul(pointing, direction);
    // 7. x_{t-1} without and with "random noise" of formula (12)
    const mean: Tensor4D = add(mul(predOriginalSample, Math.sqrt(alphaPrev)), predSampleDirection);
    if (eta === 0) return { prevSample: mean, predOriginalSample };
    if (!noise)
      throw new Error(`DDIMScheduler.step: eta got ${eta} without noise. Pass noise of the sample's shape, or eta 0.`);
    return { prevSample: add(mean, mul(noise, sigma)), predOriginalSample };
  }

  addNoise(original: Tensor4D, noise: Tensor4D, timesteps: readonly number[]): Tensor4D {
    return addNoise(
      original,
      noise,
      timesteps.map((t) => this.#alphaAt(t)),
    );
  }

  /** The target of a v-prediction model: √ᾱ_t · noise - √(1 - ᾱ_t) · sample. */
  getVelocity(sample: Tensor4D, noise: Tensor4D, timesteps: readonly number[]): Tensor4D {
    return velocity(
      sample,
      noise,
      timesteps.map((t) => this.#alphaAt(t)),
    );
  }

  #factors(step: Step, eta: number): Factors {
    const alpha = this.#alphaAt(step.t);
    const alphaPrev =
      step.prev >= 0 ? this.#alphaAt(step.prev) : this.config.set_alpha_to_one ? 1 : this.#alphasCumprod[0]!;
    if (alpha === 0 && this.config.prediction_type === 'epsilon') {
      throw new Error(
        `DDIMScheduler: timestep ${step.t} got ᾱ = 0, where epsilon tells nothing of x_0. Use v_prediction, or another timestep_spacing.`,
      );
    }
    // Rounded where torch rounds: next to ᾱ_t = 0 and η = 1 the direction is a difference of equal numbers, all
    // rounding.
    // (16) at η = 1
    const variance = fround(fround(fround(1 - alphaPrev) / fround(1 - alpha)) * fround(1 - fround(alpha / alphaPrev)));
    const sigma = fround(eta * fround(Math.sqrt(variance)));
    const rest = fround(fround(1 - alphaPrev) - fround(sigma * sigma));
    return { alpha, alphaPrev, sigma, direction: Math.sqrt(Math.max(rest, 0)) }; // torch gives NaN for a rest below 0
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

  #alphaAt(t: number): number {
    return alphaAt('DDIMScheduler', this.#alphasCumprod, t);
  }
}

/** ε of x_t = √α x_0 + √(1 - α) ε. */
const noiseOf = (sample: Tensor4D, original: Tensor4D, alpha: number): Tensor4D =>
  div(sub(sample, mul(original, Math.sqrt(alpha))), Math.sqrt(1 - alpha));

/**
 * Clips each image to ±s and divides by s, its quantile of |x_0| between 1 and `max`. The gradient also runs through s.
 */
function dynamicThreshold(original: Tensor4D, ratio: number, max: number): Tensor4D {
  const flat: Tensor2D = reshape(original, [original.shape[0], -1]); // [B, h·w·C]
  const s = clipByValue(quantile(abs(flat), ratio), Math.min(1, max), max); // [B]
  // Spelled out to [B, h·w·C]: tfjs's gradients of minimum and maximum do not sum over what was broadcast.
  const bound = mul(reshape(s, [-1, 1]), onesLike(flat));
  return reshape(div(minimum(maximum(flat, neg(bound)), bound), bound), original.shape);
}
