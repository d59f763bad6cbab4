import { dispose, zerosLike, type Variable } from '@tensorflow/tfjs-core';
import type { TorchGenerator } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { Collective } from '../collective/collective.js';
import { agree, gatherNumbers, shared } from '../collective/exchange.js';
import { meanOfGradients } from '../collective/tensors.js';
import type { WeightsAverage } from '../model/weights-average.js';
import { clipByGlobalNorm } from '../optim/clip-by-global-norm.js';
import { accumulate, globalNorm, type Gradients } from '../optim/gradients.js';
import { configuredLearningRate } from '../optim/learning-rate.js';
import { NonFiniteError } from '../optim/non-finite.js';
import type { Optimizer } from '../optim/optimizer.js';
import { meanAndStd } from '../step/statistics.js';
import type { StepMetrics } from '../trackers/metrics.js';
import type { DDPOConfig } from './ddpo-config.js';
import type { PolicyGradientFunction, TakenStep } from './policy-gradient.js';
import type { Sample } from './samples.js';

export interface PolicyUpdatesOptions {
  config: DDPOConfig;
  pipeline: StableDiffusionPipeline;
  gradient: PolicyGradientFunction;
  variables: Readonly<Record<string, Variable>>;
  optimizer: Optimizer;
  /** The moving average of the weights. */
  average: WeightsAverage | undefined;
  /** Shuffles images and denoising steps. */
  generator: TorchGenerator;
  collective: Collective;
}

/** An image that is trained on. */
export interface ComparedSample {
  readonly sample: Sample;
  readonly advantage: number;
}

/** The epoch that is trained on. */
export interface EpochContext {
  readonly epoch: number;
  /** The number of images of each rank. */
  readonly counts: readonly number[];
  /** Ends the epoch before its first optimizer step, not after it. */
  readonly signal?: AbortSignal;
  /** Calls `move`, which changes the weights, and counts the step. */
  update(move: () => void): void;
}

export type PolicyMetrics = Required<
  Pick<StepMetrics, 'loss' | 'gradNorm' | 'learningRate' | 'approxKl' | 'clipFraction'>
>;

/** One entry per micro-batch, ratio and optimizer step. */
interface Statistics {
  readonly losses: number[];
  readonly logRatios: number[];
  readonly gradNorms: number[];
  learningRate: number;
}

/** Trains on the images of epochs: DDPO's optimizer steps. */
export class PolicyUpdates {
  readonly #options: PolicyUpdatesOptions;
  readonly #learningRate: (step: number) => number;

  constructor(options: PolicyUpdatesOptions) {
    const { config } = options;
    this.#options = options;
    this.#learningRate = configuredLearningRate(config, config.num_epochs * stepsPerEpoch(config));
  }

  /**
   * Goes `train_num_inner_epochs` times through the images of an epoch, each time in a new order.
   * @param images those of this process
   * @throws NonFiniteError for a gradient, before the step it would enter; the signal's reason, before the first step
   */
  async train(images: readonly ComparedSample[], context: EpochContext): Promise<PolicyMetrics> {
    const { config, collective } = this.#options;
    const statistics: Statistics = { losses: [], logRatios: [], gradNorms: [], learningRate: 0 };
    for (let inner = 0; inner < config.train_num_inner_epochs; inner++)
      await this.#trainOnce(images, inner, context, statistics);
    return policyMetrics(collective, statistics, config.train_clip_range);
  }

  async #trainOnce(
    samples: readonly ComparedSample[],
    inner: number,
    context: EpochContext,
    statistics: Statistics,
  ): Promise<void> {
    const { config, pipeline, generator, collective } = this.#options;
    const { train_batch_size: size, train_gradient_accumulation_steps: rounds } = config;
    const schedule = pipeline.scheduler.timesteps(config.sample_num_steps);
    const trained = trainedSteps(config, schedule.length);
    // Every image takes its own steps, in its own order.
    const images = shuffled(samples, generator).map((image) =>
      shuffled(schedule, generator)
        .slice(0, trained)
        .map((step): TakenStep => ({ ...image, step })),
    );
    const perStep = size * rounds;
    for (let first = 0, step = 0; first < Math.max(...context.counts); first += perStep, step++) {
      const microBatches = batchesOf(images.slice(first, first + perStep), size).flatMap((batch) =>
        Array.from({ length: trained }, (_, j) => batch.map((steps) => steps[j]!)),
      );
      // Ranks have different numbers of images after rewards have failed.
      const all = context.counts.map((count) => Math.ceil(Math.max(0, Math.min(perStep, count - first)) / size));
      const total = trained * all.reduce((sum, count) => sum + count, 0);
      const signal = inner === 0 && step === 0 ? context.signal : undefined;
      const name = `epoch ${context.epoch}, pass ${inner}, step ${step}`;
      const gradients = await this.#gradients(microBatches, collective.size / total, statistics, name, signal);
      await this.#move(gradients, context, statistics);
    }
  }

  /**
   * The mean gradient of the micro-batches of all processes.
   * @param weight of each micro-batch, before the mean over processes
   * @param name names the step in messages between processes
   */
  async #gradients(
    microBatches: readonly (readonly TakenStep[])[],
    weight: number,
    statistics: Statistics,
    name: string,
    signal: AbortSignal | undefined,
  ): Promise<Gradients> {
    const { gradient, variables, collective } = this.#options;
    let gradients: Gradients = {};
    let failure: unknown;
    try {
      for (const batch of microBatches) {
        signal?.throwIfAborted();
        const { params, loss, logRatios } = await gradient(batch, weight);
        gradients = accumulate(gradients, params);
        statistics.losses.push(loss);
        statistics.logRatios.push(...logRatios);
      }
      if (microBatches.length === 0) gradients = zeroGradients(variables);
    } catch (error) {
      failure = error;
    }
    try {
      await agree(collective, name, failure, signal);
    } catch (error) {
      dispose(gradients);
      throw error;
    }
    return meanOfGradients(collective, gradients);
  }

  /** Clips the gradients, moves the weights, and frees the gradients. */
  async #move(gradients: Gradients, { epoch, update }: EpochContext, statistics: Statistics): Promise<void> {
    const { config, optimizer, average } = this.#options;
    const norm = globalNorm(gradients);
    try {
      const gradNorm = (await norm.data())[0]!;
      if (!Number.isFinite(gradNorm)) {
        const what = `in epoch ${epoch} the norm of the gradients is ${gradNorm}`;
        throw shared(new NonFiniteError(`DDPOTrainer: ${what}. No weight was changed by them.`));
      }
      const clipped = clipByGlobalNorm(gradients, norm, config.train_max_grad_norm);
      const rate = this.#learningRate(optimizer.steps);
      update(() => {
        optimizer.step(clipped, rate);
        average?.update(optimizer.steps);
      });
      dispose(clipped);
      statistics.gradNorms.push(gradNorm);
      statistics.learningRate = rate;
    } finally {
      dispose([norm, gradients]);
    }
  }
}

/** The number of denoising steps of each image that are trained on. @param steps those of its chain */
export const trainedSteps = ({ train_timestep_fraction: share }: DDPOConfig, steps: number): number =>
  Math.trunc(steps * share);

/** Optimizer steps of an epoch in which no reward fails. */
export const stepsPerEpoch = (config: DDPOConfig): number =>
  (config.train_num_inner_epochs * config.sample_batch_size * config.sample_num_batches_per_epoch) /
  (config.train_batch_size * config.train_gradient_accumulation_steps);

function batchesOf<T>(values: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(values.length / size) }, (_, i) => values.slice(i * size, (i + 1) * size));
}

const zeroGradients = (variables: Readonly<Record<string, Variable>>): Gradients =>
  Object.fromEntries(Object.entries(variables).map(([path, variable]) => [path, zerosLike(variable)]));

/** The metrics of an epoch over all processes. */
async function policyMetrics(
  collective: Collective,
  { losses, logRatios, gradNorms, learningRate: rate }: Statistics,
  clipRange: number,
): Promise<PolicyMetrics> {
  const gather = async (values: readonly number[]): Promise<readonly number[]> =>
    (await gatherNumbers(collective, Float64Array.from(values))).flatMap((numbers) => Array.from(numbers));
  const [allLosses, ratios] = [await gather(losses), await gather(logRatios)];
  return {
    loss: meanAndStd(allLosses).mean,
    gradNorm: meanAndStd(gradNorms).mean,
    learningRate: rate,
    approxKl: 0.5 * meanAndStd(ratios.map((logRatio) => logRatio ** 2)).mean,
    clipFraction: ratios.filter((logRatio) => Math.abs(Math.expm1(logRatio)) > clipRange).length / ratios.length,
  };
}

/** A Fisher–Yates shuffle into a new list. */
function shuffled<T>(values: readonly T[], generator: TorchGenerator): T[] {
  const order = [...values];
  for (let i = order.length - 1; i > 0; i--) {
    const j = generator.randint(0, i + 1, 1)[0]!;
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}
