import type { Tensor4D } from '@tensorflow/tfjs-core';

/** One model call of the denoising chain. Plain data: a caller may store it or create its own. */
export interface Step {
  /** Position in the chain; 0 is the noisiest step. */
  readonly index: number;
  /** The position that a chain from the middle starts at; 0 by default. Earlier calls have not been made. */
  readonly first?: number;
  /** The training timestep to pass to the model, in [0, num_train_timesteps); some schedulers take fractions. */
  readonly t: number;
  /** The training timestep of the sample after the step; below 0, or at 0, for the last step of the chain. */
  readonly prev: number;
  /** The training timestep of the sample before the step, if it is not `t` (PNDM's second call). */
  readonly from?: number;
  /**
   * The noise levels σ = √((1 - ᾱ) / ᾱ) of the whole chain, noisiest first, ending with that of the result: for
   * schedulers that step between noise levels.
   */
  readonly sigmas?: readonly number[];
}

/** An earlier model call of the chain. */
export interface ModelCall {
  readonly modelOutput: Tensor4D;
  readonly sample: Tensor4D;
}

/** Options of `Scheduler.step`. */
export interface StepOptions {
  /** η of DDIM and TCD in [0, 1], 0 by default: 0 is deterministic. Other schedulers ignore it. */
  eta?: number;
  /** Standard normal noise of the sample's shape; required where `drawsNoise` is true. */
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
export interface Scheduler<Options extends StepOptions = StepOptions> {
  readonly config: SchedulerConfig;
  /** The largest number of preceding calls that `step` reads; 0 for a one-step rule. */
  readonly historyLength: number;
  /**
   * Returns the model calls of the chain, noisiest first: one for each step, or more for a rule of several calls.
   * @throws if the count is not an integer in [1, num_train_timesteps], or the class has no chain of this length
   */
  timesteps(numInferenceSteps: number): readonly Step[];
  /**
   * Returns the model calls of the last `count` of these steps, as diffusers' image-to-image pipelines take them.
   * @throws as `timesteps`
   */
  lastSteps(numInferenceSteps: number, count: number): readonly Step[];
  /** Returns the standard deviation of the sample that a chain of this length starts from. */
  initNoiseSigma(numInferenceSteps: number): number;
  /** Returns the factor that takes the sample before a step to the model's input. */
  inputScale(step: Step): number;
  /** Whether a step adds noise, which is then to be drawn for it. */
  drawsNoise(step: Step, eta?: number): boolean;
  /**
   * Returns the step as a linear map.
   * @throws if the step is not linear in (x, ε, z): with clipping, with thresholding, or for a multistep rule
   */
  coefficients(step: Step, eta?: number): StepCoefficients;
  /** Takes one step. Pure, and differentiable in `modelOutput`, `sample` and the history, `[B, h, w, C]` each. */
  step(modelOutput: Tensor4D, step: Step, sample: Tensor4D, options?: Options): StepOutput;
  /**
   * Adds noise up to the level of a training timestep, one for each sample of the batch: √ᾱ_t · original +
   * √(1 - ᾱ_t) · noise, or original + σ_t · noise where the model's input is scaled.
   */
  addNoise(original: Tensor4D, noise: Tensor4D, timesteps: readonly number[]): Tensor4D;
  /** Returns the target of a v-prediction model: √ᾱ_t · noise - √(1 - ᾱ_t) · sample. */
  getVelocity(sample: Tensor4D, noise: Tensor4D, timesteps: readonly number[]): Tensor4D;
  /**
   * Returns the same scheduler with some options changed. `_use_default_values` stays as it is, so that `fromConfig`
   * of another class does not take a changed default, as in diffusers' corrections of a pipeline's scheduler.
   */
  withOptions(changes: SchedulerConfig): Scheduler<Options>;
}
