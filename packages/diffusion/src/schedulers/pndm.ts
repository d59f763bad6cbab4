import { add, div, mul, sub, type Tensor4D } from '@tensorflow/tfjs-core';
import { alphasCumprod, betaSchedules, type BetaConfig } from './betas.js';
import { knownFields, resolveConfig } from './scheduler-config.js';
import { addNoise, alphaAt } from './noise-level.js';
import type {
  ModelCall,
  Scheduler,
  SchedulerConfig,
  Step,
  StepCoefficients,
  StepOptions,
  StepOutput,
} from './scheduler.js';
import { spacedTimesteps, timestepSpacings, type SpacingConfig } from './spacing.js';

const predictionTypes = ['epsilon', 'v_prediction'] as const;

/** Options of `PNDMScheduler`, under diffusers' names in `scheduler_config.json`. */
export type PNDMConfig = BetaConfig &
  SpacingConfig & {
    /** Skips the Runge-Kutta steps at the start. Only true is supported, the setting of every Stable Diffusion. */
    skip_prk_steps: boolean;
    /** Whether ᾱ after the last step is 1 (true) or ᾱ_0 (false). */
    set_alpha_to_one: boolean;
    prediction_type: (typeof predictionTypes)[number];
  };

const defaults: PNDMConfig = {
  num_train_timesteps: 1000,
  beta_start: 0.0001,
  beta_end: 0.02,
  beta_schedule: 'linear',
  trained_betas: null,
  skip_prk_steps: false,
  set_alpha_to_one: false,
  prediction_type: 'epsilon',
  timestep_spacing: 'leading',
  steps_offset: 0,
};

// Weights of the model outputs, newest first (arXiv 2202.09778, eq. 12; lower orders at the start of the chain).
const multistepWeights = [[1], [3 / 2, -1 / 2], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24]];

/**
 * Pseudo linear multistep sampling (arXiv 2202.09778): diffusers' `PNDMScheduler` with `skip_prk_steps: true`.
 * The second call repeats the first step with the mean of both outputs, so that a chain of n steps has n + 1 calls.
 */
export class PNDMScheduler implements Scheduler {
  readonly config: Readonly<PNDMConfig> & SchedulerConfig;
  readonly initNoiseSigma = 1;
  readonly historyLength = 4;
  readonly #alphasCumprod: Float32Array;

  /** @throws if an option has the wrong type or an unsupported value, or `skip_prk_steps` is not true */
  constructor(config: Partial<PNDMConfig> = {}) {
    this.config = resolveConfig('PNDMScheduler', defaults, config, {
      beta_schedule: betaSchedules,
      timestep_spacing: timestepSpacings,
      prediction_type: predictionTypes,
    });
    if (!this.config.skip_prk_steps) {
      throw new Error(
        'PNDMScheduler: skip_prk_steps got false, expected true. Runge-Kutta steps are not supported: ' +
          'set skip_prk_steps to true, or use DDIMScheduler.fromConfig.',
      );
    }
    this.#alphasCumprod = alphasCumprod('PNDMScheduler', this.config);
  }

  /** Creates a PNDM scheduler with the noise schedule of another scheduler; see `DDIMScheduler.fromConfig`. */
  static fromConfig(config: SchedulerConfig): PNDMScheduler {
    return new PNDMScheduler(knownFields(defaults, config));
  }

  timesteps(numInferenceSteps: number): readonly Step[] {
    const spaced = spacedTimesteps('PNDMScheduler.timesteps', this.config, numInferenceSteps);
    const stride = Math.floor(this.config.num_train_timesteps / numInferenceSteps);
    const steps = spaced.map((t, i) => ({ index: i === 0 ? 0 : i + 1, t, prev: t - stride }));
    const second = spaced[1];
    if (second === undefined) return steps;
    const correction = { index: 1, t: second, prev: second, from: second + stride };
    return [steps[0]!, correction, ...steps.slice(1)];
  }

  /** @throws always: a step also depends on earlier model outputs */
  coefficients(): StepCoefficients {
    throw new Error(
      'PNDMScheduler.coefficients: a step of a multistep rule also depends on earlier model outputs. ' +
        'Use step() with history, or DDIMScheduler.fromConfig.',
    );
  }

  /** @throws if `history` is shorter than the step needs */
  step(modelOutput: Tensor4D, step: Step, sample: Tensor4D, { history = [] }: StepOptions = {}): StepOutput {
    const calls = relevantCalls(history, step.index);
    const start = step.index === 1 ? calls.at(-1)!.sample : sample;
    const output =
      step.index === 1
        ? mul<Tensor4D>(add(modelOutput, calls.at(-1)!.modelOutput), 0.5)
        : combineOutputs(modelOutput, calls, step.index);
    const alpha = alphaAt('PNDMScheduler', this.#alphasCumprod, step.from ?? step.t);
    const epsilon: Tensor4D =
      this.config.prediction_type === 'v_prediction'
        ? add(mul(output, Math.sqrt(alpha)), mul(start, Math.sqrt(1 - alpha)))
        : output;
    return {
      prevSample: this.#transfer(start, epsilon, alpha, step.prev),
      predOriginalSample: div(sub(start, mul(epsilon, Math.sqrt(1 - alpha))), Math.sqrt(alpha)),
    };
  }

  addNoise(original: Tensor4D, noise: Tensor4D, timesteps: readonly number[]): Tensor4D {
    return addNoise(
      original,
      noise,
      timesteps.map((t) => alphaAt('PNDMScheduler', this.#alphasCumprod, t)),
    );
  }

  /** Formula (9), solved for x_(t-δ). */
  #transfer(sample: Tensor4D, epsilon: Tensor4D, alpha: number, prev: number): Tensor4D {
    const final = this.config.set_alpha_to_one ? 1 : this.#alphasCumprod[0]!;
    const alphaPrev = prev >= 0 ? alphaAt('PNDMScheduler', this.#alphasCumprod, prev) : final;
    const denominator = alpha * Math.sqrt(1 - alphaPrev) + Math.sqrt(alpha * (1 - alpha) * alphaPrev);
    return sub(mul(sample, Math.sqrt(alphaPrev / alpha)), mul(epsilon, (alphaPrev - alpha) / denominator));
  }
}

/** The calls that call `index` reads. Calls after the second one skip it: it only corrected the first step. */
function relevantCalls(history: readonly ModelCall[], index: number): readonly ModelCall[] {
  const needed = Math.min(index, index > 4 ? 3 : 4);
  if (history.length < needed) {
    throw new Error(
      `PNDMScheduler.step: history of step ${index} got ${history.length} calls, expected ${needed}. ` +
        'Pass the preceding calls, oldest first.',
    );
  }
  const first = index - history.length; // the index of history[0]
  return history.filter((_, i) => index === 1 || first + i !== 1);
}

/** The weighted sum of the newest outputs, of order 1 to 4. */
function combineOutputs(modelOutput: Tensor4D, calls: readonly ModelCall[], index: number): Tensor4D {
  const outputs = [modelOutput, ...calls.map((call) => call.modelOutput).reverse()];
  const weights = multistepWeights[Math.min(Math.max(index - 1, 0), 3)]!;
  return weights.map((weight, i) => mul<Tensor4D>(outputs[i]!, weight)).reduce((sum, term) => add(sum, term));
}
