import type { Tensor4D } from '@tensorflow/tfjs-core';

/** One call of the model on the way from noise to image. Plain data: a caller may store it or make its own. */
export interface Step {
  /** Place in the chain; 0 is the noisiest. */
  readonly index: number;
  /** Training timestep given to the model, in [0, num_train_timesteps). */
  readonly t: number;
  /** Training timestep of the sample after the step; below 0 when the step ends the chain. */
  readonly prev: number;
  /** Training timestep of the sample that the step starts from, where that is not `t` (PNDM's second call). */
  readonly from?: number;
}

/** A call of the model made earlier in the chain. */
export interface ModelCall {
  readonly modelOutput: Tensor4D;
  readonly sample: Tensor4D;
}

export interface StepOptions {
  /** DDIM's η in [0, 1]: 0 deterministic, 1 as noisy as DDPM. Schedulers without noise ignore it. */
  eta?: number;
  /** Standard normal noise of the sample's shape; needed where `eta` is above 0. */
  noise?: Tensor4D;
  /** The calls before this one, oldest first; at least `historyLength` of them, or all there are. */
  history?: readonly ModelCall[];
}

export interface StepOutput {
  /** The sample at `step.prev`. */
  readonly prevSample: Tensor4D;
  /** The x_0 that the model's output implies, after clipping or thresholding. */
  readonly predOriginalSample: Tensor4D;
}

/** x_prev = sample · x + modelOutput · ε + noise · z. */
export interface StepCoefficients {
  readonly sample: number;
  readonly modelOutput: number;
  readonly noise: number;
}

/**
 * The file's spelling, with defaults filled in; the fields filled in are listed in `_use_default_values`, as in
 * diffusers.
 */
export type SchedulerConfig = Readonly<Record<string, unknown>>;

/**
 * A rule that takes a sample one step down the noise schedule. It has no state: what a multistep rule has to
 * remember comes back to it as `history`, so that steps can be repeated, reordered and differentiated.
 */
export interface Scheduler {
  readonly config: SchedulerConfig;
  /** Standard deviation of the sample that the chain starts from. */
  readonly initNoiseSigma: number;
  /** How many earlier calls `step` may read; 0 for a one-step rule. */
  readonly historyLength: number;
  /**
   * The chain, noisiest step first.
   * @throws if the count is not an integer in [1, num_train_timesteps]
   */
  timesteps(numInferenceSteps: number): readonly Step[];
  /**
   * The step as a linear map.
   * @throws if the step is not linear in (x, ε, z): clipping, thresholding, or a multistep rule
   */
  coefficients(step: Step, eta?: number): StepCoefficients;
  /** One step down, pure and differentiable in `modelOutput` and `sample`, both `[B, h, w, C]`. */
  step(modelOutput: Tensor4D, step: Step, sample: Tensor4D, options?: StepOptions): StepOutput;
  /** √ᾱ_t · original + √(1 - ᾱ_t) · noise, with one timestep per sample of the batch. */
  addNoise(original: Tensor4D, noise: Tensor4D, timesteps: readonly number[]): Tensor4D;
}
