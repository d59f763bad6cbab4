import { dispose } from '@tensorflow/tfjs-core';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { DetailedReward, RewardFunction, RewardMemory } from '@alignprop/rewards';
import { singleProcess, type Collective } from './collective/collective.js';
import { byRankZero, exchange, isShared, StoppedElsewhere } from './collective/exchange.js';
import { describeRanks, joinRanks } from './collective/join-ranks.js';
import { pruneCheckpoints, readCheckpoint, writeCheckpoint } from './run/checkpoints.js';
import { parseAlignPropConfig, type AlignPropConfig, type AlignPropConfigInput } from './config/config.js';
import { backpropPlan } from './estimators/config-plan.js';
import {
  restoreRank,
  saveGenerators,
  seededGenerators,
  type Generators,
  type GeneratorStates,
} from './step/generators.js';
import { alignPropGradients } from './gradient/alignprop-gradients.js';
import { HeldOut, type HeldOutOptions } from './evaluation/held-out.js';
import { describeEvaluation, type StepMetrics } from './trackers/metrics.js';
import { silent, type Logger } from './logger.js';
import { MicroBatches, type PromptFunction } from './step/micro-batch.js';
import { imageSize } from './model/image-size.js';
import { clipByGlobalNorm } from './optim/clip-by-global-norm.js';
import { createOptimizer } from './optim/create-optimizer.js';
import { learningRate } from './optim/learning-rate.js';
import type { Optimizer } from './optim/optimizer.js';
import type { Plan } from './estimators/plans.js';
import { preparePipeline, type Prepared } from './model/prepare-pipeline.js';
import {
  checkpointToResume,
  claimRunFolder,
  isOwnCheckpoint,
  prepareRunFolder,
  runFolder,
  type RunFolder,
} from './run/folder.js';
import { keptReporter, warnOf } from './run/remarks.js';
import { skippingNonFinite } from './step/skip-non-finite.js';
import { stepCollector, type ImageSamples, type StepCollector } from './step/step-collector.js';
import { createTrackers } from './trackers/create-trackers.js';
import { logSamples } from './trackers/log-samples.js';
import { allTrackers, type Tracker } from './trackers/tracker.js';
import { samplingOptions } from './gradient/walk-down.js';
import { WeightsAverage } from './model/weights-average.js';
import { disposeTensors } from '@alignprop/autograd-ext';

export interface AlignPropTrainerOptions<M> {
  /** In TRL's spelling or in camel case; see `alignPropConfigSchema`. */
  config?: AlignPropConfigInput;
  /**
   * Stays the caller's. A UNet without trainable weights gets an adapter; one with a trainable adapter goes on with it.
   */
  pipeline: StableDiffusionPipeline;
  promptFunction: PromptFunction<M>;
  rewardFunction: RewardFunction<M>;
  /**
   * Called on rank 0 every `log_image_freq` steps, from the first; without it the trackers get the images
   * (`logSamples`).
   */
  imageSamplesHook?: (samples: ImageSamples<M>, globalStep: number, tracker: Tracker) => void | Promise<void>;
  /** Told on rank 0 of every step besides metrics.jsonl; closed when training ends. */
  trackers?: readonly Tracker[];
  /** What the run is judged by every `eval_freq` epochs. */
  evaluation?: HeldOutOptions<M>;
  /** Told on rank 0 alone. */
  logger?: Logger;
  /** The processes that train together, `await openMpi()` for instance; this one alone by default. */
  collective?: Collective;
  /** Takes the place of the plan that the configuration describes. */
  plan?: Plan;
}

/**
 * Fine-tunes a diffusion model, its LoRA adapter or all of its UNet, by backpropagating a differentiable reward through
 * its denoising chain (AlignProp, arXiv 2310.03739), step by step as TRL's `AlignPropTrainer`, with -mean(reward) as
 * the loss.
 */
export class AlignPropTrainer<M = undefined> {
  readonly config: AlignPropConfig;
  /** Where the gradient enters the model. */
  readonly plan: Plan;
  readonly #options: AlignPropTrainerOptions<M>;
  readonly #logger: Logger;
  readonly #collective: Collective;
  readonly #folder: RunFolder | undefined;
  readonly #generators: Generators;
  readonly #prepared: Prepared;
  readonly #optimizer: Optimizer;
  readonly #learningRate: (step: number) => number;
  readonly #batches: MicroBatches<M>;
  readonly #collect: StepCollector<M>;
  readonly #average: WeightsAverage | undefined;
  readonly #heldOut: HeldOut<M> | undefined;
  readonly #rewardMemory: RewardMemory | undefined;
  #globalStep = 0;
  #savedStep = -1;
  #started = false;
  /** Whether what a checkpoint would hold is that of complete steps, all of which trackers were told of. */
  #isWhole = true;

  /** @throws if the configuration is not valid, or the pipeline's UNet cannot be trained with it */
  constructor(options: AlignPropTrainerOptions<M>) {
    const { pipeline, promptFunction, rewardFunction, plan, collective = singleProcess } = options;
    const logger = collective.rank === 0 ? (options.logger ?? silent) : silent;
    const config = parseAlignPropConfig(options.config);
    pipeline.latentShape({ batch: config.train_batch_size, ...imageSize(config) }); // throws for a size that does not fit
    this.config = config;
    this.plan = plan ?? backpropPlan(config);
    this.#options = options;
    this.#logger = logger;
    this.#collective = collective;
    this.#folder = runFolder(config);
    this.#generators = seededGenerators(config.seed, collective.rank);
    this.#prepared = preparePipeline(pipeline, config, this.#generators.adapter);
    this.#optimizer = createOptimizer(this.#prepared.weights.variables, config);
    this.#learningRate = learningRate(scheduleOptions(config));
    this.#batches = new MicroBatches(this.pipeline, promptFunction, config, this.plan, this.#generators);
    const gradients = alignPropGradients(this.pipeline, rewardFunction, {
      ...samplingOptions(config),
      klWeight: config.kl_weight,
      warn: (message) => logger.warn(message),
      onKept: keptReporter(logger),
    });
    const collect = stepCollector({
      config,
      batches: this.#batches,
      gradients,
      generators: this.#generators,
      logger,
      collective,
    });
    this.#collect = config.on_nonfinite === 'skip' ? skippingNonFinite(collect, this.#generators, logger) : collect;
    this.#average =
      config.ema_decay > 0 ? new WeightsAverage(this.#prepared.weights.variables, config.ema_decay) : undefined;
    this.#heldOut = this.#judgedBy();
    this.#rewardMemory = (rewardFunction as Partial<DetailedReward<M>>).memory;
    warnOf(config, this.plan, this.pipeline.engine, logger);
  }

  /** The pipeline given, with the adapter that is trained and a DDIM scheduler: generate with it at any time. */
  get pipeline(): StableDiffusionPipeline {
    return this.#prepared.pipeline;
  }

  /** Optimizer steps taken, resumed ones included. */
  get globalStep(): number {
    return this.#globalStep;
  }

  /**
   * Trains up to `num_epochs`, yielding after every optimizer step: the caller owns the loop, and may `break` out of
   * it. However it ends, a checkpoint of the last complete step is written, and short of an error the adapter. An
   * aborted `signal` ends it after the last complete step. Until it ends no other run can have the folder.
   *
   * Of several processes all have to leave the loop after the same step. A `signal` on one of them ends all; so does an
   * error, by `Collective.abort`.
   * @throws if the run folder is another run's or cannot be written, or the checkpoint to resume from cannot be read,
   *   before any step; NonFiniteError, with weights, optimizer and generators as they were before the step
   */
  async *train({ signal }: { signal?: AbortSignal } = {}): AsyncGenerator<StepMetrics, void, void> {
    try {
      const lock =
        this.#folder && this.#collective.rank === 0 ? await claimRunFolder(this.#folder, this.#logger) : undefined;
      try {
        yield* this.#run(signal);
      } finally {
        await lock?.release();
      }
    } catch (error) {
      if (!isShared(error)) await this.#collective.abort(error);
      throw error;
    }
  }

  async *#run(signal?: AbortSignal): AsyncGenerator<StepMetrics, void, void> {
    const tracker = await this.#start();
    let failed = false;
    try {
      await this.#evaluateIfDue(tracker, signal);
      while (this.#globalStep < this.config.num_epochs && !this.#heldOut?.isExhausted) {
        const metrics = await this.#step(tracker, signal);
        await tracker.log(metrics);
        this.#isWhole = true;
        await this.#evaluateIfDue(tracker, signal);
        if (this.#folder && this.#globalStep % this.config.save_freq === 0) await this.saveCheckpoint();
        yield metrics;
      }
    } catch (error) {
      failed = !(error instanceof StoppedElsewhere) && (!signal?.aborted || error !== signal.reason);
      if (failed && (this.#collective.size === 1 || isShared(error))) await this.#saveWhatIsWhole();
      if (failed) throw error;
    } finally {
      if (!failed) await this.#finish();
      await tracker.close();
    }
  }

  /**
   * Writes `checkpoints/checkpoint_<globalStep>/` and deletes the oldest beyond `num_checkpoint_limit`. Of several
   * processes all have to call it.
   * @returns its path
   * @throws if the run has no folder
   */
  async saveCheckpoint(): Promise<string> {
    if (!this.#folder)
      throw new Error('AlignPropTrainer.saveCheckpoint: output_dir got nothing, expected a folder. Set output_dir.');
    const { checkpoints } = this.#folder;
    const path = `${checkpoints}/checkpoint_${this.#globalStep}`;
    if (this.#savedStep !== this.#globalStep) {
      const states = await exchange(
        this.#collective,
        `checkpoint ${this.#globalStep}`,
        saveGenerators(this.#generators),
      );
      const wasWhole = this.#isWhole;
      this.#isWhole = false; // until it is written
      if (this.#collective.rank === 0) await this.#write(checkpoints, states);
      this.#savedStep = this.#globalStep;
      this.#isWhole = wasWhole;
    }
    if (this.#collective.rank === 0)
      await pruneCheckpoints(checkpoints, this.config.project_kwargs.total_limit ?? this.config.num_checkpoint_limit);
    return path;
  }

  async #write(folder: string, [generators, ...otherRanks]: readonly GeneratorStates[]): Promise<void> {
    const ranks = { generators: generators!, ...(otherRanks.length > 0 && { otherRanks }) };
    const state = {
      globalStep: this.#globalStep,
      ...ranks,
      reward: this.#rewardMemory?.state(),
      evaluation: this.#heldOut?.state(),
      config: this.config,
    };
    await writeCheckpoint(folder, this.#prepared.weights, this.#optimizer, state, this.#average?.values);
  }

  /**
   * After an error: what was trained since the last checkpoint, unless the error came in the midst of a step or of
   * writing.
   */
  async #saveWhatIsWhole(): Promise<void> {
    if (!this.#folder || !this.#isWhole || this.#globalStep === 0) return;
    await this.saveCheckpoint().catch((error: unknown) => this.#logger.warn((error as Error).message));
  }

  /** Runs something while the pipeline has the moving average of the weights (`ema_decay`); without one, as it is. */
  averaged<T>(run: () => Promise<T>): Promise<T> {
    return this.#average ? this.#average.during(run) : run();
  }

  /** Frees the optimizer's state, averages, and the adapters that the trainer made. The pipeline given stays usable. */
  dispose(): void {
    this.#optimizer.dispose();
    this.#batches.dispose();
    this.#average?.dispose();
    dispose(this.#prepared.made);
  }

  /** Resumes, once, and makes the run's folder and trackers. */
  async #start(): Promise<Tracker> {
    const { resume_from: location } = this.config;
    const checkpoint =
      !this.#started && location ? await checkpointToResume(location, this.#folder, this.#logger) : undefined;
    if (checkpoint) await this.#resume(checkpoint);
    if (!this.#started) await this.#join();
    const resumedStep = this.#started || checkpoint ? this.#globalStep : undefined;
    this.#started = true;
    const given = allTrackers(this.#options.trackers ?? []);
    if (this.#collective.rank > 0) return { log: () => {}, close: () => given.close() };
    if (this.#folder) await prepareRunFolder(this.#folder, this.config, resumedStep);
    const isEvaluated = this.#heldOut ? !this.#heldOut.isDue(this.#globalStep) : this.#globalStep > 0;
    const own = await createTrackers(this.config, this.#folder, {
      fromStep: this.#globalStep,
      fromEvaluation: this.#globalStep + (isEvaluated ? 1 : 0),
      warn: (message) => this.#logger.warn(message),
    });
    return allTrackers([...own, given]);
  }

  /** Several processes start from rank 0's weights. */
  async #join(): Promise<void> {
    if (this.#collective.size === 1) return;
    await joinRanks(this.#collective, this.config, this.#globalStep, this.#prepared.weights.variables);
    if (this.#globalStep === 0) this.#average?.load();
    this.#logger.info(describeRanks(this.#collective, this.config));
  }

  async #resume(path: string): Promise<void> {
    const {
      globalStep,
      generators,
      otherRanks = [],
      reward,
      evaluation,
      weights,
      average,
      optimizer,
    } = await readCheckpoint(path, this.#prepared.weights, this.#optimizer);
    await this.#optimizer.load(optimizer.steps, optimizer.stored);
    const differs = restoreRank(this.#generators, [generators, ...otherRanks], this.#collective);
    if (differs) this.#logger.warn(differs);
    this.#restoreReward(reward);
    for (const [name, variable] of Object.entries(this.#prepared.weights.variables)) variable.assign(weights[name]!);
    this.#average?.load(average ?? weights);
    disposeTensors([weights, average]);
    this.#heldOut?.restore(evaluation);
    this.#globalStep = globalStep;
    if (this.#folder && (await isOwnCheckpoint(this.#folder, path, globalStep))) this.#savedStep = globalStep;
    this.#logger.info(`Resumed from ${path} after ${globalStep} steps.`);
    if (globalStep >= this.config.num_epochs) {
      this.#logger.warn(
        `Nothing to train: the checkpoint has ${globalStep} steps, num_epochs is ${this.config.num_epochs}.`,
      );
    }
  }

  /** A reward may be another than that of the checkpoint; one that learns then starts anew. */
  #restoreReward(state: unknown): void {
    try {
      if (this.#rewardMemory && state === undefined) throw new Error('The checkpoint has none.');
      this.#rewardMemory?.restore(state);
    } catch (error) {
      this.#logger.warn(
        `What the reward learnt of its scores is not resumed, it starts anew: ${(error as Error).message}`,
      );
    }
  }

  async #finish(): Promise<void> {
    await exchange(this.#collective, `the end after ${this.#globalStep} steps`, null);
    if (!this.#folder) return;
    await this.saveCheckpoint();
    if (this.#collective.rank > 0) return;
    const { weights } = this.#prepared;
    const path = this.#folder.path;
    await (this.config.ema_export ? this.averaged(() => weights.export(path)) : weights.export(path));
  }

  #judgedBy(): HeldOut<M> | undefined {
    const { config, evaluation, rewardFunction } = { ...this.#options, config: this.config };
    if (config.eval_freq === null) return undefined;
    if (!evaluation)
      throw new Error(
        `AlignPropTrainer: eval_freq got ${config.eval_freq} without held-out prompts. Pass evaluation: { prompts } (--eval-prompts).`,
      );
    return new HeldOut(this.pipeline, config, config.eval_freq, {
      ...evaluation,
      rewardFunction: evaluation.rewardFunction ?? rewardFunction,
    });
  }

  /** Judges the weights, or their average, on rank 0, and keeps them where they are the best so far. */
  async #evaluateIfDue(tracker: Tracker, signal?: AbortSignal): Promise<void> {
    const heldOut = this.#heldOut;
    if (!heldOut?.isDue(this.#globalStep)) return;
    const judge = async () => {
      const metrics = await heldOut.run(this.pipeline, this.#globalStep, signal);
      if (metrics.isBest && this.#folder) await this.#prepared.weights.export(`${this.#folder.path}/best`);
      return { metrics, state: heldOut.state() };
    };
    const judged = await byRankZero(this.#collective, `evaluation ${this.#globalStep}`, signal, async () =>
      signal?.aborted ? undefined : this.averaged(judge),
    );
    if (!judged) return;
    const { metrics, state } = judged;
    heldOut.restore(state);
    await tracker.logEvaluation?.(metrics);
    this.#logger.info(describeEvaluation(metrics));
    if (heldOut.isExhausted)
      this.#logger.info(
        `Stopped early: ${this.config.early_stopping_patience} evaluations without a higher reward than after ${metrics.bestStep} steps.`,
      );
  }

  /** One optimizer step: draw, walk down and up for every micro-batch, clip, move, tell. */
  async #step(tracker: Tracker, signal?: AbortSignal): Promise<StepMetrics> {
    const started = performance.now();
    const { gradients, norm, metrics, terms, samples } = await this.#collect(this.#globalStep, signal);
    try {
      const clipped = clipByGlobalNorm(gradients, norm, this.config.train_max_grad_norm);
      const rate = this.#learningRate(this.#optimizer.steps);
      this.#isWhole = false;
      this.#optimizer.step(clipped, rate);
      dispose(clipped);
      this.#average?.update(this.#optimizer.steps);
      this.#rewardMemory?.observe(terms);
      const epoch = this.#globalStep++;
      if (this.#collective.rank === 0 && epoch % this.config.log_image_freq === 0)
        await (this.#options.imageSamplesHook ?? logSamples)(samples, epoch, tracker);
      return {
        epoch,
        globalStep: epoch,
        ...metrics,
        learningRate: rate,
        seconds: (performance.now() - started) / 1000,
      };
    } finally {
      dispose([gradients, norm, samples.images, samples.rewards]);
    }
  }
}

const scheduleOptions = (config: AlignPropConfig) => ({
  learningRate: config.train_learning_rate,
  schedule: config.train_lr_scheduler,
  warmupSteps: config.train_lr_warmup_steps,
  totalSteps: config.num_epochs,
});
