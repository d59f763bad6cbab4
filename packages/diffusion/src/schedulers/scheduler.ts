import type { Tensor4D } from '@tensorflow/tfjs-core';

/** One model call of the denoising chain. Plain data: a caller may store it or create its own. */
export interface Step {
  /** Position in the chain; 0 is the noisiest step. */
  readonly index: number;
  /** The training timestep to pass to the model, in [0, num_train_timesteps). */
  readonly t: number;
  /** The training timestep of the sample after the step; below 0 for the last step of the chain. */
  readonly prev: number;
  /** The training timestep of the sample before the step, if it is not `t` (PNDM's second call). */
  readonly from?: number;
}

/** An earlier model call of the chain. */
export interface ModelCall {
  readonly modelOutput: Tensor4D;
  readonly sample: Tensor4D;
}

/** Options of `Scheduler.step`. */
export interface StepOptions {
  /** DDIM's η in [0, 1]: 0 is deterministic, 1 adds as much noise as DDPM. Deterministic schedulers ignore it. */
  eta?: number;
  /** Standard normal noise of the sample's shape; required if `eta` is above 0. */
  noise?: Tensor4D;
  /** The preceding calls, oldest first: at least `historyLength` of them, or all if there are fewer. */
  history?: readonly ModelCall[];
}

/** The result of `Scheduler.step`. */
export interface StepOutput {
  /** The sample at `step.prev`. */
  readonly prevSample: Tensor4D;
  /** The model's estimate of x_0, after clipping or thresholding. */
  readonly predOriginalSample: Tensor4D;
}

/** The coefficients of a linear step: x_prev = sample · x + modelOutput · ε + noise · z. */
export interface StepCoefficients {
  readonly sample: number;
  readonly modelOutput: number;
  readonly noise: number;
}

/**
 * The options of a scheduler, under their names in `scheduler_config.json`, with defaults filled in.
 * `_use_default_values` lists the names of the options filled in, as in diffusers.
 */
export type SchedulerConfig = Readonly<Record<string, unknown>>;

/**
 * Takes samples down the noise schedule, one step at a time. A scheduler has no state: a multistep rule gets the
 * preceding calls as `history`, so that steps can be repeated, reordered and differentiated.
 */
export interface Scheduler {
  readonly config: SchedulerConfig;
  /** Standard deviation of the sample that the chain starts from. */
  readonly initNoiseSigma: number;
  /** The largest number of preceding calls that `step` reads; 0 for a one-step rule. */
  readonly historyLength: number;
  /**
   * Returns the steps of the chain, noisiest first.
   * @throws if the count is not an integer in [1, num_train_timesteps]
   */
  timesteps(numInferenceSteps: number): readonly Step[];
  /**
   * Returns the step as a linear map.
   * @throws if the step is not linear in (x, ε, z): with clipping, with thresholding, or for a multistep rule
   */
  coefficients(step: Step, eta?: number): StepCoefficients;
  /** Takes one step. Pure, and differentiable in `modelOutput` and `sample`, both `[B, h, w, C]`. */
  step(modelOutput: Tensor4D, step: Step, sample: Tensor4D, options?: StepOptions): StepOutput;
  /** Returns √ᾱ_t · original + √(1 - ᾱ_t) · noise, with one timestep per sample of the batch. */
  addNoise(original: Tensor4D, noise: Tensor4D, timesteps: readonly number[]): Tensor4D;
}
