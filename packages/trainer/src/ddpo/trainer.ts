import { dispose, tensor1d } from '@tensorflow/tfjs-core';
import type { TorchGenerator } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { RewardFunction } from '@alignprop/rewards';
import { accumulate, globalNorm, type Gradients } from '../optim/gradients.js';
import { seededGenerators, type Generators } from '../step/generators.js';
import { silent, type Logger } from '../logger.js';
import { type StepMetrics } from '../trackers/metrics.js';
import { meanAndStd } from '../step/statistics.js';
import { MicroBatches, type PromptFunction } from '../step/micro-batch.js';
import { imageSize } from '../model/image-size.js';
import { NonFiniteError } from '../optim/non-finite.js';
import { clipByGlobalNorm } from '../optim/clip-by-global-norm.js';
import { createOptimizer } from '../optim/create-optimizer.js';
import type { Optimizer } from '../optim/optimizer.js';
import { full } from '../estimators/plans.js';
import { preparePipeline, type Prepared } from '../model/prepare-pipeline.js';
import { samplingOptions } from '../gradient/walk-down.js';
import { claimRunFolder, prepareRunFolder, runFolder, type RunFolder } from '../run/folder.js';
import type { ImageSamples } from '../step/step-collector.js';
import { createTrackers } from '../trackers/create-trackers.js';
import { logSamples } from '../trackers/log-samples.js';
import { allTrackers, type Tracker } from '../trackers/tracker.js';
import { epochAdvantages, perPromptAdvantages, type Advantages } from './advantages.js';
import { blackBoxJudge, type BlackBoxJudge, type BlackBoxReward } from './black-box-reward.js';
import { parseDDPOConfig, type DDPOConfig, type DDPOConfigInput } from './ddpo-config.js';
import { policyGradient, type PolicyGradientFunction, type TakenStep } from './policy-gradient.js';
import { drawSamples, type Sample, type SampledBatch } from './samples.js';

export interface DDPOTrainerOptions<M> {
  /** In TRL's spelling or in camel case; see `ddpoConfigSchema`. */
  config?: DDPOConfigInput;
  /**
   * Stays the caller's. A UNet without trainable weights gets an adapter; one with a trainable adapter goes on with it.
   */
  pipeline: StableDiffusionPipeline;
  promptFunction: PromptFunction<M>;
  /**
   * Any function of images, or a differentiable reward of `@alignprop/rewards`, which the pipeline's engine then runs.
   */
  rewardFunction: BlackBoxReward<M> | RewardFunction<M>;
  /** Called every epoch with its last batch; without it the trackers get the images. */
  imageSamplesHook?: (samples: ImageSamples<M>, epoch: number, tracker: Tracker) => void | Promise<void>;
  /** Told of every epoch besides metrics.jsonl; closed when training ends. */
  trackers?: readonly Tracker[];
  logger?: Logger;
}

/** What an epoch reports; `loss` and `gradNorm` are means over its micro-batches and optimizer steps. */
export type DDPOMetrics = StepMetrics & Required<Pick<StepMetrics, 'approxKl' | 'clipFraction'>>;

/** The images of an epoch. */
interface Rollout {
  readonly samples: readonly Sample[];
  readonly rewards: readonly number[];
}

/** A batch of them, before it is judged. */
interface Drawn<M> extends SampledBatch {
  readonly promptMetadata: readonly M[];
}

/** What has been seen in an epoch's training. */
interface Seen {
  readonly losses: number[];
  readonly logRatios: number[];
  readonly gradNorms: number[];
}

/**
 * Fine-tunes a diffusion model by policy gradients of a reward that need not be differentiable (DDPO, arXiv
 * 2305.13301), as TRL's `DDPOTrainer`: the baseline that AlignProp is measured against. An epoch draws images, compares
 * their rewards, and raises the probability of the denoising steps of those above the mean.
 */
export class DDPOTrainer<M = undefined> {
  readonly config: DDPOConfig;
  readonly #options: DDPOTrainerOptions<M>;
  readonly #folder: RunFolder | undefined;
  readonly #generators: Generators;
  readonly #prepared: Prepared;
  readonly #optimizer: Optimizer;
  readonly #batches: MicroBatches<M>;
  readonly #judge: BlackBoxJudge<M>;
  readonly #advantages: Advantages;
  readonly #gradient: PolicyGradientFunction;
  #epoch = 0;

  /**
   * @throws if the configuration is not valid, the scheduler's steps clip, or the pipeline's UNet cannot be trained
   * with it
   */
  constructor(options: DDPOTrainerOptions<M>) {
    const { pipeline, promptFunction, rewardFunction, logger = silent } = options;
    const config = parseDDPOConfig(options.config);
    // throws for a size that does not fit
    const [, ...latentShape] = pipeline.latentShape({ batch: config.sample_batch_size, ...imageSize(config) });
    this.config = config;
    this.#options = options;
    this.#folder = runFolder(config);
    this.#generators = seededGenerators(config.seed);
    this.#prepared = preparePipeline(pipeline, { ...config, train_text_encoder: false }, this.#generators.adapter);
    checkDensities(this.pipeline, config);
    this.#optimizer = createOptimizer(this.#prepared.weights.variables, config);
    this.#batches = new MicroBatches(
      this.pipeline,
      promptFunction,
      { ...config, train_batch_size: config.sample_batch_size },
      full(),
      this.#generators,
    );
    this.#judge = blackBoxJudge(pipeline.engine, rewardFunction);
    const { per_prompt_stat_tracking_buffer_size: bufferSize, per_prompt_stat_tracking_min_count: minCount } = config;
    this.#advantages = config.per_prompt_stat_tracking
      ? perPromptAdvantages({ bufferSize, minCount })
      : epochAdvantages;
    const guidanceScale = config.train_cfg ? config.sample_guidance_scale : 1;
    this.#gradient = policyGradient(this.pipeline, {
      latentShape,
      eta: config.sample_eta,
      guidanceScale,
      clipRange: config.train_clip_range,
    });
    if (!config.train_cfg && config.sample_guidance_scale > 1)
      logger.warn(
        'train_cfg is false with guidance: importance ratios compare the unguided prediction with the guided one that drew the images, and most are clipped.',
      );
  }

  /** The pipeline given, with the adapter that is trained and a DDIM scheduler: generate with it at any time. */
  get pipeline(): StableDiffusionPipeline {
    return this.#prepared.pipeline;
  }

  /** Optimizer steps taken. */
  get globalStep(): number {
    return this.#optimizer.steps;
  }

  /**
   * Trains up to `num_epochs`, yielding after every epoch: the caller owns the loop, and may `break` out of it. However
   * it ends, short of an error, the adapter is written. An aborted `signal` ends it after the last complete optimizer
   * step.
   * @throws if the run folder cannot be written, or another run is in it; NonFiniteError for a reward, a
   *   log-probability or a gradient, before the step it would enter
   */
  async *train({ signal }: { signal?: AbortSignal } = {}): AsyncGenerator<DDPOMetrics, void, void> {
    const lock = this.#folder && (await claimRunFolder(this.#folder, this.#options.logger ?? silent));
    try {
      yield* this.#run(signal);
    } finally {
      await lock?.release();
    }
  }

  /** Frees the optimizer's state and the adapter that the trainer made. The pipeline given stays usable. */
  dispose(): void {
    this.#optimizer.dispose();
    this.#batches.dispose();
    dispose(this.#prepared.made);
  }

  async *#run(signal?: AbortSignal): AsyncGenerator<DDPOMetrics, void, void> {
    const tracker = await this.#start();
    let failed = false;
    try {
      while (this.#epoch < this.config.num_epochs && !signal?.aborted) {
        const metrics = await this.#runEpoch(tracker, signal);
        await tracker.log(metrics);
        yield metrics;
      }
    } catch (error) {
      failed = !signal?.aborted || error !== signal.reason;
      if (failed) throw error;
    } finally {
      if (!failed && this.#folder) await this.#prepared.weights.export(this.#folder.path);
      await tracker.close();
    }
  }

  async #start(): Promise<Tracker> {
    const { logger = silent, trackers = [] } = this.#options;
    if (this.#folder) await prepareRunFolder(this.#folder, this.config, this.#epoch > 0 ? this.globalStep : undefined);
    const own = await createTrackers(this.config, this.#folder, {
      fromStep: this.globalStep,
      warn: (message) => logger.warn(message),
    });
    return allTrackers([...own, ...trackers]);
  }

  async #runEpoch(tracker: Tracker, signal?: AbortSignal): Promise<DDPOMetrics> {
    const started = performance.now();
    const globalStep = this.globalStep;
    const { samples, rewards } = await this.#draw(tracker, signal);
    const { train_adv_clip_max: limit, train_clip_range: range } = this.config;
    const prompts = samples.map(({ prompt }) => prompt);
    const advantages = this.#advantages(prompts, rewards).map((advantage) =>
      Math.max(-limit, Math.min(limit, advantage)),
    );
    const seen: Seen = { losses: [], logRatios: [], gradNorms: [] };
    for (let inner = 0; inner < this.config.train_num_inner_epochs; inner++)
      await this.#trainOn(samples, advantages, seen, signal);
    const { mean: rewardMean, std: rewardStd } = meanAndStd(rewards);
    return {
      epoch: this.#epoch++,
      globalStep,
      rewardMean,
      rewardStd,
      rewardTerms: {},
      loss: meanAndStd(seen.losses).mean,
      approxKl: 0.5 * meanAndStd(seen.logRatios.map((logRatio) => logRatio ** 2)).mean,
      clipFraction:
        seen.logRatios.filter((logRatio) => Math.abs(Math.expm1(logRatio)) > range).length / seen.logRatios.length,
      gradNorm: meanAndStd(seen.gradNorms).mean,
      learningRate: this.config.train_learning_rate,
      seconds: (performance.now() - started) / 1000,
    };
  }

  /** Draws and judges the images of an epoch. */
  async #draw(tracker: Tracker, signal?: AbortSignal): Promise<Rollout> {
    const { sample_num_batches_per_epoch: batches, async_reward_computation: together } = this.config;
    const samples: Sample[] = [];
    const pending: Promise<number[]>[] = [];
    for (let batch = 0; batch < batches; batch++) {
      const drawn = await this.#drawBatch(batch, signal);
      samples.push(...drawn.samples);
      const judged = this.#judgeBatch(drawn, batch === batches - 1 ? tracker : undefined);
      pending.push(judged);
      judged.catch(() => {}); // seen below
      if (!together) await judged;
    }
    const rewards = (await Promise.all(pending)).flat();
    checkFinite(samples, rewards);
    return { samples, rewards };
  }

  async #drawBatch(batch: number, signal?: AbortSignal): Promise<Drawn<M>> {
    const { sample_batch_size: size, sample_num_batches_per_epoch: batches } = this.config;
    const first = (this.#epoch * batches + batch) * size;
    return this.#batches.draw(first, async (inputs) => {
      const { promptMetadata, ...walk } = inputs;
      return {
        ...(await drawSamples(this.pipeline, samplingOptions(this.config), { ...walk, signal })),
        promptMetadata,
      };
    });
  }

  async #judgeBatch({ samples, images, promptMetadata }: Drawn<M>, tracker?: Tracker): Promise<number[]> {
    const prompts = samples.map(({ prompt }) => prompt);
    try {
      const values = await this.#judge(images, prompts, promptMetadata);
      if (tracker) {
        const rewards = tensor1d(values);
        await (async () =>
          (this.#options.imageSamplesHook ?? logSamples)(
            { images, prompts, promptMetadata, rewards },
            this.#epoch,
            tracker,
          ))().finally(() => rewards.dispose());
      }
      return values;
    } finally {
      images.dispose();
    }
  }

  /** Once through the images of an epoch, in a new order. */
  async #trainOn(
    samples: readonly Sample[],
    advantages: readonly number[],
    seen: Seen,
    signal?: AbortSignal,
  ): Promise<void> {
    const {
      train_batch_size: size,
      train_gradient_accumulation_steps: rounds,
      sample_num_steps,
      train_timestep_fraction,
    } = this.config;
    const schedule = this.pipeline.scheduler.timesteps(sample_num_steps);
    const count = Math.trunc(schedule.length * train_timestep_fraction);
    const shuffled = <T>(values: readonly T[]) => shuffle(values, this.#generators.plan);
    // Each image goes through its own steps in an order of its own.
    const ways = shuffled(samples.map((sample, i) => ({ sample, advantage: advantages[i]! }))).map((image) =>
      shuffled(schedule)
        .slice(0, count)
        .map((step) => ({ ...image, step })),
    );
    for (let first = 0; first < ways.length; first += size * rounds) {
      const batches = Array.from({ length: rounds }, (_, round) =>
        ways.slice(first + round * size, first + (round + 1) * size),
      );
      await this.#step(
        batches.flatMap((batch) => Array.from({ length: count }, (_, j) => batch.map((way) => way[j]!))),
        seen,
        signal,
      );
    }
  }

  /** One optimizer step. */
  async #step(microBatches: readonly (readonly TakenStep[])[], seen: Seen, signal?: AbortSignal): Promise<void> {
    let gradients: Gradients = {};
    try {
      for (const batch of microBatches) {
        signal?.throwIfAborted();
        const { params, loss, logRatios } = await this.#gradient(batch, 1 / microBatches.length);
        gradients = accumulate(gradients, params);
        seen.losses.push(loss);
        seen.logRatios.push(...logRatios);
      }
      seen.gradNorms.push(await this.#move(gradients));
    } finally {
      dispose(gradients);
    }
  }

  /** @returns the norm of the gradients, before they are clipped */
  async #move(gradients: Gradients): Promise<number> {
    const norm = globalNorm(gradients);
    try {
      const value = (await norm.data())[0]!;
      if (!Number.isFinite(value))
        throw new NonFiniteError(
          `DDPOTrainer: in epoch ${this.#epoch} the norm of the gradients is ${value}. No weight was changed by them.`,
        );
      const clipped = clipByGlobalNorm(gradients, norm, this.config.train_max_grad_norm);
      this.#optimizer.step(clipped);
      dispose(clipped);
      return value;
    } finally {
      norm.dispose();
    }
  }
}

/** Fisher and Yates's; a new list. */
function shuffle<T>(values: readonly T[], generator: TorchGenerator): T[] {
  const order = [...values];
  for (let i = order.length - 1; i > 0; i--) {
    const j = generator.randint(0, i + 1, 1)[0]!;
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

/** A step without noise has no density: also where a schedule ends at ᾱ = 1. */
function checkDensities({ scheduler }: StableDiffusionPipeline, { sample_num_steps, sample_eta }: DDPOConfig): void {
  const certain = scheduler
    .timesteps(sample_num_steps)
    .find((step) => !(scheduler.coefficients(step, sample_eta).noise > 0));
  if (!certain) return;
  throw new Error(
    `DDPOTrainer: the denoising step at t = ${certain.t} adds no noise, so that it has no density. Use a scheduler with set_alpha_to_one false.`,
  );
}

function checkFinite(samples: readonly Sample[], rewards: readonly number[]): void {
  samples.forEach(({ prompt, logProbs }, i) => {
    const step = logProbs.findIndex((value) => !Number.isFinite(value));
    const what = step >= 0 ? `log-probability of denoising step ${step}` : 'reward';
    const value = step >= 0 ? logProbs[step]! : rewards[i]!;
    if (!Number.isFinite(value))
      throw new NonFiniteError(
        `DDPOTrainer: the ${what} of image ${i} ('${prompt}') is ${value}. Nothing was trained on it.`,
      );
  });
}
