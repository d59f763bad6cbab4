import { dispose } from '@tensorflow/tfjs-core';
import { checkOptions, optionNames, type TorchGenerator } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { BlackBoxReward, RewardFunction } from '@alignprop/rewards';
import { RewardScorer } from '@alignprop/rewards/interface';
import { singleProcess } from '../collective/collective.js';
import { full } from '../estimators/draft.js';
import { silent, type Logger } from '../logger.js';
import { imageSize } from '../model/image-size.js';
import { preparePipeline, type PreparedPipeline } from '../model/prepare-pipeline.js';
import { clipByGlobalNorm } from '../optim/clip-by-global-norm.js';
import { createOptimizer } from '../optim/create-optimizer.js';
import { accumulate, globalNorm, type Gradients } from '../optim/gradients.js';
import { NonFiniteError } from '../optim/non-finite.js';
import type { Optimizer } from '../optim/optimizer.js';
import { createManifest, type ManifestParts } from '../run/manifest.js';
import { ResumableState } from '../run/resumable-state.js';
import { Run } from '../run/run.js';
import { restoreGenerators, saveGenerators, seededGenerators, type Generators } from '../step/generators.js';
import type { ImageSamples } from '../step/image-samples.js';
import { skipLimit } from '../step/step-attempts.js';
import type { StepMetrics } from '../trackers/metrics.js';
import { MicroBatches, type PromptFunction } from '../step/micro-batch.js';
import { meanAndStd } from '../step/statistics.js';
import { FailureReports } from '../trackers/failure-reports.js';
import { logSamples } from '../trackers/log-samples.js';
import type { Tracker } from '../trackers/tracker.js';
import { epochAdvantages, perPromptAdvantages, type Advantages } from './advantages.js';
import { parseDDPOConfig, type DDPOConfig, type DDPOConfigInput } from './ddpo-config.js';
import { EpochProgress } from './epoch-progress.js';
import { policyGradient, type PolicyGradientFunction, type TakenStep } from './policy-gradient.js';
import { Rollouts } from './rollouts.js';
import type { Sample } from './samples.js';

export interface DDPOTrainerOptions<M> {
  /** In TRL's spelling or in camel case; see `ddpoConfigSchema`. */
  config?: DDPOConfigInput;
  /**
   * Stays the caller's. A UNet without trainable weights gets a new adapter; a trainable adapter is trained further.
   */
  pipeline: StableDiffusionPipeline;
  promptFunction: PromptFunction<M>;
  /**
   * Any function of images, or a differentiable reward of `@alignprop/rewards`, which the pipeline's engine then runs.
   */
  rewardFunction: BlackBoxReward<M> | RewardFunction<M>;
  /** Called every epoch with its last batch. By default the trackers get the images. */
  imageSamplesHook?: (samples: ImageSamples<M>, epoch: number, tracker: Tracker) => void | Promise<void>;
  /** Receive every epoch's metrics, besides metrics.jsonl; closed when training ends. */
  trackers?: readonly Tracker[];
  logger?: Logger;
  /** The inputs of the run besides `config`: stored in the folder and in checkpoints, and compared on resume. */
  manifest?: ManifestParts;
  /** Contents of files, by name, that are written into the run's folder with its manifest: prompts, for example. */
  files?: Readonly<Record<string, Uint8Array>>;
  /** Names of options that a resumed run may change although that is refused otherwise, such as `lora_alpha`. */
  force?: readonly string[];
}

const trainerOptionNames = optionNames<DDPOTrainerOptions<unknown>>({
  config: true,
  pipeline: true,
  promptFunction: true,
  rewardFunction: true,
  imageSamplesHook: true,
  trackers: true,
  logger: true,
  manifest: true,
  files: true,
  force: true,
});

/** The metrics of an epoch; `loss` and `gradNorm` are means over its micro-batches and optimizer steps. */
export type DDPOMetrics = StepMetrics & Required<Pick<StepMetrics, 'approxKl' | 'clipFraction'>>;

/** Statistics of an epoch's training, one entry per micro-batch, ratio and optimizer step. */
interface TrainingStatistics {
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
  readonly #generators: Generators;
  readonly #prepared: PreparedPipeline;
  readonly #optimizer: Optimizer;
  readonly #rollouts: Rollouts<M>;
  readonly #advantages: Advantages;
  readonly #gradient: PolicyGradientFunction;
  readonly #run: Run;
  readonly #failures: FailureReports;
  readonly #logger: Logger;
  readonly #progress = new EpochProgress();

  /**
   * @throws if the configuration is not valid, the scheduler's steps clip, or the pipeline's UNet cannot be trained
   * with it
   */
  constructor(options: DDPOTrainerOptions<M>) {
    checkOptions('DDPOTrainer', options, trainerOptionNames);
    const { pipeline, promptFunction, rewardFunction, logger = silent, trackers } = options;
    const config = parseDDPOConfig(options.config);
    const batch = config.sample_batch_size;
    // Throws for a size that does not fit the model.
    const [, ...latentShape] = pipeline.latentShape({ batch, ...imageSize(config) });
    this.config = config;
    this.#options = options;
    this.#logger = logger;
    this.#failures = new FailureReports((message) => logger.warn(message));
    const generators = seededGenerators(config.seed);
    this.#generators = generators;
    this.#prepared = preparePipeline(pipeline, { ...config, train_text_encoder: false }, generators.adapter);
    checkDensities(this.pipeline, config);
    const { weights, created } = this.#prepared;
    const optimizer = createOptimizer(weights.variables, config);
    this.#optimizer = optimizer;
    const drawn = { ...config, train_batch_size: batch };
    const batches = new MicroBatches(this.pipeline, promptFunction, drawn, full(), generators);
    const scorer = new RewardScorer(rewardFunction, pipeline.engine);
    this.#rollouts = new Rollouts({ config, pipeline: this.pipeline, batches, generators, scorer });
    this.#advantages = configuredAdvantages(config, this.#progress.rewards);
    this.#gradient = policyGradient(this.pipeline, {
      latentShape,
      eta: config.sample_eta,
      guidanceScale: config.train_cfg ? config.sample_guidance_scale : 1,
      clipRange: config.train_clip_range,
    });
    const manifest = createManifest('ddpo', config, options.manifest);
    const unused = { average: undefined, rewardMemory: undefined, heldOut: undefined };
    const parts = { config, manifest, weights, optimizer, generators, logger, collective: singleProcess, ...unused };
    this.#run = new Run({
      config,
      trackers,
      logger,
      manifest,
      files: options.files,
      state: new ResumableState({ ...parts, progress: this.#progress, force: options.force ?? [] }),
      exportWeights: (path) => weights.export(path),
      owned: [optimizer, batches, { dispose: () => dispose(created) }],
    });
    if (!config.train_cfg && config.sample_guidance_scale > 1) {
      logger.warn(
        'train_cfg is false with guidance: importance ratios compare the unguided prediction with the guided one ' +
          'that drew the images, and most are clipped.',
      );
    }
  }

  /** The pipeline with the adapter that is trained and a DDIM scheduler: generate with it at any time. */
  get pipeline(): StableDiffusionPipeline {
    return this.#prepared.pipeline;
  }

  /** Optimizer steps taken. */
  get globalStep(): number {
    return this.#run.globalStep;
  }

  /**
   * Trains up to `num_epochs`, yielding after every epoch: the caller owns the loop, and may `break` out of it. However
   * it ends, a checkpoint of the last complete epoch is written, and the adapter unless an error ended it; after an
   * error between the optimizer steps of an epoch, the checkpoint is that of `save_freq`. An aborted `signal` ends it
   * before the first optimizer step of an epoch, or after the last.
   * @throws if the run folder cannot be written, or another run is in it, or the checkpoint to resume from cannot be
   *   read; NonFiniteError for a reward, a log-probability or a gradient, before the step it would enter
   */
  train({ signal }: { signal?: AbortSignal } = {}): AsyncGenerator<DDPOMetrics, void, void> {
    return this.#run.execute((tracker) => this.#loop(tracker, signal), signal);
  }

  /** Frees the optimizer's state and the adapter that the trainer created. The given pipeline stays usable. */
  dispose(): void {
    this.#run.dispose();
  }

  async *#loop(tracker: Tracker, signal?: AbortSignal): AsyncGenerator<DDPOMetrics, void, void> {
    const { num_epochs, save_freq } = this.config;
    while (this.#progress.epoch < num_epochs && !signal?.aborted) {
      const metrics = await this.#attemptEpoch(tracker, signal);
      await tracker.log(metrics);
      this.#run.complete();
      if (this.#run.folder && this.#progress.epoch % save_freq === 0) await this.#run.saveCheckpoint();
      yield metrics;
    }
  }

  /** Runs an epoch. After an error before its first optimizer step, everything is as before the epoch. */
  async #attemptEpoch(tracker: Tracker, signal?: AbortSignal): Promise<DDPOMetrics> {
    const { globalStep } = this;
    const [before, drawn] = [this.#progress.state(), saveGenerators(this.#generators)];
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#runEpoch(tracker, signal);
      } catch (error) {
        if (this.globalStep !== globalStep) throw error;
        this.#progress.restore(before);
        const isSkipped = error instanceof NonFiniteError && this.config.on_nonfinite === 'skip';
        if (!isSkipped || attempt === skipLimit) {
          restoreGenerators(this.#generators, drawn);
          throw error;
        }
        const count = `${attempt} of at most ${skipLimit - 1} times`;
        this.#logger.warn(`${error.message} The epoch is drawn again (${count}).`);
      }
    }
  }

  async #runEpoch(tracker: Tracker, signal?: AbortSignal): Promise<DDPOMetrics> {
    const started = performance.now();
    const globalStep = this.globalStep;
    const { imageSamplesHook = logSamples } = this.#options;
    const showSamples = (samples: ImageSamples<M>) =>
      this.#failures.attempt('imageSamplesHook', () => imageSamplesHook(samples, this.#progress.epoch, tracker));
    const { samples, rewards } = await this.#rollouts.draw(
      { step: globalStep, epoch: this.#progress.epoch },
      showSamples,
      signal,
    );
    const { train_adv_clip_max: limit } = this.config;
    const prompts = samples.map(({ prompt }) => prompt);
    const advantages = this.#advantages(prompts, rewards).map((advantage) =>
      Math.max(-limit, Math.min(limit, advantage)),
    );
    const statistics: TrainingStatistics = { losses: [], logRatios: [], gradNorms: [] };
    for (let inner = 0; inner < this.config.train_num_inner_epochs; inner++)
      await this.#trainOn(samples, advantages, statistics, () => {
        if (this.globalStep === globalStep) signal?.throwIfAborted();
      });
    const { mean: rewardMean, std: rewardStd } = meanAndStd(rewards);
    return {
      epoch: this.#progress.epoch++,
      globalStep,
      rewardMean,
      rewardStd,
      rewardTerms: {},
      ...policyMetrics(statistics, this.config.train_clip_range),
      learningRate: this.config.train_learning_rate,
      seconds: (performance.now() - started) / 1000,
    };
  }

  /** Goes once through the images of an epoch, in a new order. */
  async #trainOn(
    samples: readonly Sample[],
    advantages: readonly number[],
    statistics: TrainingStatistics,
    stopIfAborted: () => void,
  ): Promise<void> {
    const { train_batch_size: size, train_gradient_accumulation_steps: rounds } = this.config;
    const { sample_num_steps, train_timestep_fraction } = this.config;
    const schedule = this.pipeline.scheduler.timesteps(sample_num_steps);
    const count = Math.trunc(schedule.length * train_timestep_fraction);
    const shuffled = <T>(values: readonly T[]) => shuffle(values, this.#generators.plan);
    // Every image takes its own steps, in its own order.
    const images = shuffled(samples.map((sample, i) => ({ sample, advantage: advantages[i]! }))).map((image) =>
      shuffled(schedule)
        .slice(0, count)
        .map((step): TakenStep => ({ ...image, step })),
    );
    for (let first = 0; first < images.length; first += size * rounds) {
      const batches = Array.from({ length: rounds }, (_, round) =>
        images.slice(first + round * size, first + (round + 1) * size),
      );
      const microBatches = batches.flatMap((batch) =>
        Array.from({ length: count }, (_, j) => batch.map((steps) => steps[j]!)),
      );
      await this.#step(microBatches, statistics, stopIfAborted);
    }
  }

  /** Takes one optimizer step. */
  async #step(
    microBatches: readonly (readonly TakenStep[])[],
    statistics: TrainingStatistics,
    stopIfAborted: () => void,
  ): Promise<void> {
    let gradients: Gradients = {};
    try {
      for (const batch of microBatches) {
        stopIfAborted();
        const { params, loss, logRatios } = await this.#gradient(batch, 1 / microBatches.length);
        gradients = accumulate(gradients, params);
        statistics.losses.push(loss);
        statistics.logRatios.push(...logRatios);
      }
      statistics.gradNorms.push(await this.#move(gradients));
    } finally {
      dispose(gradients);
    }
  }

  /** Clips the gradients and moves the weights. @returns the norm of the gradients before clipping */
  async #move(gradients: Gradients): Promise<number> {
    const norm = globalNorm(gradients);
    try {
      const gradNorm = (await norm.data())[0]!;
      if (!Number.isFinite(gradNorm)) {
        throw new NonFiniteError(
          `DDPOTrainer: in epoch ${this.#progress.epoch} the norm of the gradients is ${gradNorm}. ` +
            'No weight was changed by them.',
        );
      }
      const clipped = clipByGlobalNorm(gradients, norm, this.config.train_max_grad_norm);
      this.#run.update(() => this.#optimizer.step(clipped));
      dispose(clipped);
      return gradNorm;
    } finally {
      norm.dispose();
    }
  }
}

function configuredAdvantages(
  {
    per_prompt_stat_tracking: isPerPrompt,
    per_prompt_stat_tracking_buffer_size: bufferSize,
    per_prompt_stat_tracking_min_count: minCount,
  }: DDPOConfig,
  history: Map<string, readonly number[]>,
): Advantages {
  return isPerPrompt ? perPromptAdvantages({ bufferSize, minCount }, history) : epochAdvantages;
}

const policyMetrics = ({ losses, logRatios, gradNorms }: TrainingStatistics, clipRange: number) => ({
  loss: meanAndStd(losses).mean,
  approxKl: 0.5 * meanAndStd(logRatios.map((logRatio) => logRatio ** 2)).mean,
  clipFraction: logRatios.filter((logRatio) => Math.abs(Math.expm1(logRatio)) > clipRange).length / logRatios.length,
  gradNorm: meanAndStd(gradNorms).mean,
});

/** A Fisher–Yates shuffle into a new list. */
function shuffle<T>(values: readonly T[], generator: TorchGenerator): T[] {
  const order = [...values];
  for (let i = order.length - 1; i > 0; i--) {
    const j = generator.randint(0, i + 1, 1)[0]!;
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

/** @throws for a step without noise, which has no density; a schedule that ends at ᾱ = 1 has one as well */
function checkDensities({ scheduler }: StableDiffusionPipeline, { sample_num_steps, sample_eta }: DDPOConfig): void {
  const certain = scheduler
    .timesteps(sample_num_steps)
    .find((step) => !(scheduler.coefficients(step, sample_eta).noise > 0));
  if (!certain) return;
  throw new Error(
    `DDPOTrainer: the denoising step at t = ${certain.t} adds no noise, so that it has no density. ` +
      'Use a scheduler with set_alpha_to_one false.',
  );
}
