import { add, mul, tensor4d, type Tensor4D } from '@tensorflow/tfjs-core';
import { alphasCumprod, type BetaConfig } from './betas.js';
import { addNoise, alphaAt, velocity } from './noise-level.js';
import type { Bound } from './prediction.js';
import { explicitFields, resolveConfig, type FieldChecks } from './scheduler-config.js';
import type { Scheduler, SchedulerConfig, Step, StepCoefficients, StepOptions, StepOutput } from './scheduler.js';
import { sigmaOf, startSigma } from './sigmas.js';

/** The rule of one class of schedulers for a config; the rest is the same for all. */
export interface SchedulerRule<Options extends StepOptions> {
  /** 0 by default. */
  readonly historyLength?: number;
  readonly timesteps: (numInferenceSteps: number) => readonly Step[];
  /** Returns the calls after a number of steps; by default a step is one call. */
  readonly callsAfter?: (calls: readonly Step[], steps: number) => readonly Step[];
  /**
   * The noise level of the model's input at a step, for rules whose samples are x_0 + σ · ε: their samples start at
   * the chain's largest noise level, and the model's input is the sample divided by √(σ² + 1).
   */
  readonly inputSigma?: (step: Step) => number;
  /** No step draws noise by default. */
  readonly drawsNoise?: (step: Step, eta: number) => boolean;
  /** @throws if the step is not linear */
  readonly coefficients: (step: Step, eta: number) => StepCoefficients;
  readonly step: (modelOutput: Tensor4D, step: Step, sample: Tensor4D, options: Options) => StepOutput;
}

/** The definition of a class of schedulers. */
export interface SchedulerDefinition<Config extends BetaConfig, Options extends StepOptions> {
  /** The name of the class in diffusers. */
  readonly name: string;
  /** The options of the class and their defaults in diffusers. */
  readonly defaults: Config;
  readonly checks: FieldChecks<Config>;
  /** Values of other classes' files, and what diffusers takes in their place, by option. */
  readonly replacements?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** ᾱ at the last timestep with `rescale_betas_zero_snr`, if it is not 0. */
  readonly terminalAlpha?: number;
  /** @throws if options contradict one another */
  readonly rule: (config: Readonly<Config> & SchedulerConfig, alphas: Float32Array) => SchedulerRule<Options>;
}

/** A class of schedulers. */
export interface SchedulerClass<Config extends object, Options extends StepOptions = StepOptions> {
  /** @throws if an option has the wrong type or an unsupported value */
  new (config?: Partial<Config>): Scheduler<Options>;
  /**
   * Creates a scheduler with the noise schedule of another one, as diffusers' `from_config` does: takes the fields that
   * the class has, except defaults that the other class filled in, and keeps the others for further classes.
   * @throws as the constructor
   */
  fromConfig(config: SchedulerConfig): Scheduler<Options>;
}

/** Returns the class of a definition. */
export function schedulerClass<Config extends BetaConfig, Options extends StepOptions = StepOptions>(
  definition: SchedulerDefinition<Config, Options>,
): SchedulerClass<Config, Options> {
  const { name, defaults, checks } = definition;
  return class DefinedScheduler implements Scheduler<Options> {
    readonly config: Readonly<Config> & SchedulerConfig;
    readonly historyLength: number;
    readonly #alphas: Float32Array;
    readonly #rule: SchedulerRule<Options>;

    constructor(config: SchedulerConfig = {}, filledIn?: readonly string[]) {
      this.config = resolveConfig(name, defaults, replaced(config, definition.replacements), checks, filledIn);
      this.#alphas = alphasOf(definition as SchedulerDefinition<BetaConfig, never>, this.config);
      this.#rule = definition.rule(this.config, this.#alphas);
      this.historyLength = this.#rule.historyLength ?? 0;
    }

    static fromConfig(config: SchedulerConfig): Scheduler<Options> {
      return new DefinedScheduler(explicitFields(config));
    }

    timesteps(numInferenceSteps: number): readonly Step[] {
      return this.#rule.timesteps(numInferenceSteps);
    }

    lastSteps(numInferenceSteps: number, count: number): readonly Step[] {
      const calls = this.timesteps(numInferenceSteps);
      return (this.#rule.callsAfter ?? startedAt)(calls, numInferenceSteps - count);
    }

    initNoiseSigma(numInferenceSteps: number): number {
      if (!this.#rule.inputSigma) return 1;
      return startSigma(this.timesteps(numInferenceSteps)[0]!.sigmas!, this.config.timestep_spacing as string);
    }

    inputScale(step: Step): number {
      const sigma = this.#rule.inputSigma?.(step) ?? 0;
      return 1 / Math.sqrt(sigma * sigma + 1);
    }

    drawsNoise(step: Step, eta = 0): boolean {
      return this.#rule.drawsNoise?.(step, eta) ?? false;
    }

    coefficients(step: Step, eta = 0): StepCoefficients {
      return this.#rule.coefficients(step, eta);
    }

    step(modelOutput: Tensor4D, step: Step, sample: Tensor4D, options = {} as Options): StepOutput {
      const { eta = 0, noise } = options;
      if (this.drawsNoise(step, eta) && !noise) throw missingNoise(name, step, eta);
      return this.#rule.step(modelOutput, step, sample, options);
    }

    addNoise(original: Tensor4D, noise: Tensor4D, timesteps: readonly number[]): Tensor4D {
      if (!this.#rule.inputSigma) return addNoise(original, noise, this.#alphasAt(timesteps));
      const sigmas = timesteps.map((t) => sigmaOf(alphaAt(name, this.#alphas, t)));
      return add(original, mul(noise, tensor4d(sigmas, [sigmas.length, 1, 1, 1])));
    }

    getVelocity(sample: Tensor4D, noise: Tensor4D, timesteps: readonly number[]): Tensor4D {
      return velocity(sample, noise, this.#alphasAt(timesteps));
    }

    withOptions(changes: SchedulerConfig): Scheduler<Options> {
      return new DefinedScheduler({ ...this.config, ...changes }, this.config._use_default_values as readonly string[]);
    }

    #alphasAt(timesteps: readonly number[]): number[] {
      return timesteps.map((t) => alphaAt(name, this.#alphas, t));
    }
  };
}

/** Returns the calls from an index on. */
export const startedAt = (calls: readonly Step[], first: number): readonly Step[] =>
  first === 0 ? calls : calls.slice(first).map((call) => ({ ...call, first }));

/** The number of calls that a chain has made before a step. */
export const callsBefore = ({ index, first = 0 }: Step): number => index - first;

/** Rescales to a terminal SNR of 0 in classes that have the option: others ignore it in files, as in diffusers. */
function alphasOf({ name, defaults, terminalAlpha }: SchedulerDefinition<BetaConfig, never>, config: BetaConfig) {
  const rescales = Object.hasOwn(defaults, 'rescale_betas_zero_snr') && config.rescale_betas_zero_snr;
  const alphas = alphasCumprod(name, { ...config, rescale_betas_zero_snr: rescales });
  if (rescales && terminalAlpha !== undefined) alphas.set([terminalAlpha], alphas.length - 1);
  return alphas;
}

/** Returns the `coefficients` of a rule whose steps depend on earlier calls. */
export const noCoefficients = (name: string) => (): never => {
  throw new Error(
    `${name}.coefficients: a step of this rule also depends on earlier model calls. ` +
      'Use step() with history, or DDIMScheduler.fromConfig.',
  );
};

/** @throws if the predicted x_0 has a bound: a step is not linear then */
export function refuseBound(name: string, bound: Bound | undefined): void {
  if (bound)
    throw new Error(`${name}.coefficients: ${bound.option} got true, expected false for a linear step. Use step().`);
}

/**
 * Returns the newest calls of the history, the newest last.
 * @throws if there are fewer than a step reads
 */
export function newestCalls<Call>(
  name: string,
  step: Step,
  history: readonly Call[] = [],
  count: number,
): readonly Call[] {
  if (history.length >= count) return history.slice(history.length - count);
  throw new Error(
    `${name}.step: history of step ${step.index} got ${history.length} calls, expected ${count}. ` +
      'Pass the preceding calls, oldest first.',
  );
}

function replaced(
  config: SchedulerConfig,
  replacements: SchedulerDefinition<BetaConfig, StepOptions>['replacements'] = {},
): SchedulerConfig {
  const changes = Object.entries(replacements).flatMap(([option, values]) => {
    const value = config[option];
    return typeof value === 'string' && Object.hasOwn(values, value) ? [[option, values[value]] as const] : [];
  });
  return { ...config, ...Object.fromEntries(changes) };
}

const missingNoise = (name: string, step: Step, eta: number): Error =>
  new Error(
    `${name}.step: step ${step.index} (eta ${eta}) got no noise, expected some. Pass noise of the sample's shape.`,
  );
