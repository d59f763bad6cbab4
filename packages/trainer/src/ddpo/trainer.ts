import { dispose } from '@tensorflow/tfjs-core';
import { checkOptions, optionNames } from '@alignprop/autograd-ext';
import { pushToHub, type Pushed, type PushOptions } from '@alignprop/autograd-ext/weights';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { BlackBoxReward, DetailedReward, RewardFunction } from '@alignprop/rewards';
import { RewardScorer } from '@alignprop/rewards/interface';
import { singleProcess, type Collective } from '../collective/collective.js';
import { full } from '../estimators/draft.js';
import { Evaluations, type EvaluationSamplesHook } from '../evaluation/evaluations.js';
import type { HeldOutOptions } from '../evaluation/held-out.js';
import { silent, type Logger } from '../logger.js';
import { imageSize } from '../model/image-size.js';
import { preparePipeline, type PreparedPipeline } from '../model/prepare-pipeline.js';
import { WeightsAverage } from '../model/weights-average.js';
import { createOptimizer } from '../optim/create-optimizer.js';
import { NonFiniteError } from '../optim/non-finite.js';
import { createManifest, type ManifestParts } from '../run/manifest.js';
import { ResumableState } from '../run/resumable-state.js';
import { publishedFiles } from '../run/published-files.js';
import { Run } from '../run/run.js';
import { restoreGenerators, saveGenerators, seededGenerators, type Generators } from '../step/generators.js';
import type { ImageSamples } from '../step/image-samples.js';
import { skipLimit } from '../step/step-attempts.js';
import type { StepMetrics } from '../trackers/metrics.js';
import { MicroBatches, type PromptFunction } from '../step/micro-batch.js';
import { FailureReports } from '../trackers/failure-reports.js';
import { logSamples } from '../trackers/log-samples.js';
import { PhaseTimes } from '../trackers/phase-times.js';
import type { Tracker } from '../trackers/tracker.js';
import { configuredAdvantages, type Advantages } from './advantages.js';
import { parseDDPOConfig, type DDPOConfig, type DDPOConfigInput } from './ddpo-config.js';
import { EpochProgress } from './epoch-progress.js';
import { gatherRewards, rewardMetrics, termsOf, type EpochRewards } from './epoch-rewards.js';
import { policyGradient, policyOptions } from './policy-gradient.js';
import { PolicyUpdates } from './policy-updates.js';
import { RewardCalls } from './reward-calls.js';
import { Rollouts } from './rollouts.js';
import { checkPolicy } from './samples.js';

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
  /**
   * Called on rank 0 every `log_image_freq` epochs, from the first, with the last batch of the epoch. By default the
   * trackers get the images (`logSamples`).
   */
  imageSamplesHook?: (samples: ImageSamples<M>, globalStep: number, tracker: Tracker) => void | Promise<void>;
  /**
   * Called on rank 0 after every evaluation with up to 16 of its images. By default the trackers get them
   * (`logEvaluationSamples`).
   */
  evaluationSamplesHook?: EvaluationSamplesHook;
  /** Receive every epoch's metrics on rank 0, besides metrics.jsonl; closed when training ends. */
  trackers?: readonly Tracker[];
  /** Held-out prompts that are evaluated every `eval_freq` epochs. */
  evaluation?: HeldOutOptions<M>;
  /** Receives messages on rank 0 only. */
  logger?: Logger;
  /** The processes that train together, for example `await openMpi()`; this one alone by default. */
  collective?: Collective;
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
  evaluationSamplesHook: true,
  trackers: true,
  evaluation: true,
  logger: true,
  collective: true,
  manifest: true,
  files: true,
  force: true,
});

/** The metrics of an epoch; `loss` and `gradNorm` are means over its micro-batches and optimizer steps. */
export type DDPOMetrics = StepMetrics & Required<Pick<StepMetrics, 'approxKl' | 'clipFraction'>>;

/**
 * Fine-tunes a diffusion model by policy gradients of a reward that need not be differentiable (DDPO, arXiv
 * 2305.13301), as TRL's `DDPOTrainer`: the baseline that AlignProp is measured against. An epoch draws images, compares
 * their rewards, and raises the probability of the denoising steps of those above the mean.
 */
export class DDPOTrainer<M = undefined> {
  readonly config: DDPOConfig;
  /** The time that sampling, gradients, evaluations and saving have taken in this process. */
  readonly times = new PhaseTimes();
  readonly #options: DDPOTrainerOptions<M>;
  readonly #collective: Collective;
  readonly #generators: Generators;
  readonly #prepared: PreparedPipeline;
  readonly #average: WeightsAverage | undefined;
  readonly #evaluations: Evaluations<M>;
  readonly #rollouts: Rollouts<M>;
  readonly #advantages: Advantages;
  readonly #updates: PolicyUpdates;
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
    const { pipeline, promptFunction, rewardFunction, trackers, collective = singleProcess } = options;
    const logger = collective.rank === 0 ? (options.logger ?? silent) : silent;
    const config = parseDDPOConfig(options.config);
    const { sample_batch_size: batch, reward_retries: retries } = config;
    // Throws for a size that does not fit the model.
    const [, ...latentShape] = pipeline.latentShape({ batch, ...imageSize(config) });
    this.config = config;
    this.#options = options;
    this.#collective = collective;
    this.#logger = logger;
    this.#failures = new FailureReports((message) => logger.warn(message));
    const generators = (this.#generators = seededGenerators(config.seed, collective.rank));
    const prepared = { ...config, train_text_encoder: false, owner: 'DDPOTrainer' };
    this.#prepared = preparePipeline(pipeline, prepared, generators.adapter);
    checkPolicy(this.pipeline, config);
    const { weights, created } = this.#prepared;
    const { variables } = weights;
    const optimizer = createOptimizer(variables, config);
    const average = config.ema_decay > 0 ? new WeightsAverage(variables, config.ema_decay) : undefined;
    this.#average = average;
    const drawn = { ...config, train_batch_size: batch };
    const batches = new MicroBatches(this.pipeline, promptFunction, drawn, full(), generators);
    const reward = new RewardCalls({ scorer: new RewardScorer(rewardFunction, pipeline.engine), retries, logger });
    const shared = { config, pipeline: this.pipeline, collective, logger };
    this.#rollouts = new Rollouts({ ...shared, batches, generators, reward });
    this.#advantages = configuredAdvantages(config, this.#progress.rewards);
    const gradient = policyGradient(this.pipeline, { latentShape, ...policyOptions(config) });
    this.#updates = new PolicyUpdates({
      ...{ ...shared, gradient, variables, optimizer, average },
      generator: generators.plan,
    });
    this.#evaluations = new Evaluations({
      ...{ ...shared, owner: 'DDPOTrainer', rewardFunction, weights, average },
      evaluation: options.evaluation,
      evaluationSamplesHook: options.evaluationSamplesHook,
      failures: this.#failures,
    });
    const { heldOut } = this.#evaluations;
    const manifest = createManifest('ddpo', config, options.manifest);
    const parts = { ...shared, manifest, weights, optimizer, generators, average, rewardMemory: this.#rewardMemory };
    const progress = this.#progress;
    this.#run = new Run({
      ...{ config, trackers, logger, collective, manifest, times: this.times },
      files: options.files,
      state: new ResumableState({ ...parts, heldOut, progress, force: options.force ?? [] }),
      exportWeights: (path) => (config.ema_export ? this.averaged(() => weights.export(path)) : weights.export(path)),
      owned: [optimizer, batches, ...(average ? [average] : []), { dispose: () => dispose(created) }],
    });
    warnOfConfig(config, logger);
  }

  /** The pipeline with the adapter that is trained and the scheduler of the run: generate with it at any time. */
  get pipeline(): StableDiffusionPipeline {
    return this.#prepared.pipeline;
  }

  /** The best evaluation so far: the steps before it and its mean reward. Its adapter is in `best/` of the folder. */
  get best(): { readonly step: number; readonly rewardMean: number } | undefined {
    return this.#evaluations.heldOut?.best;
  }

  /** Whether the pictures of the last evaluation have collapsed; see `on_collapse`. */
  get hasCollapsed(): boolean {
    return this.#evaluations.heldOut?.hasCollapsed ?? false;
  }

  /** Epochs that are complete, those of resumed runs included. */
  get epoch(): number {
    return this.#progress.epoch;
  }

  /** Optimizer steps taken, those of resumed runs included. */
  get globalStep(): number {
    return this.#run.globalStep;
  }

  /**
   * Trains up to `num_epochs`, yielding after every epoch: the caller owns the loop, and may `break` out of it. However
   * it ends, a checkpoint of the last complete epoch is written, and the adapter unless an error ended it; after an
   * error between the optimizer steps of an epoch, the checkpoint is that of `save_freq`. An aborted `signal` ends it
   * before the first optimizer step of an epoch, or after the last.
   *
   * Several processes must all leave the loop after the same epoch. A `signal` on one of them ends all, and so does a
   * reward that fails on one; any other error by `Collective.abort`.
   * @throws if the run folder cannot be written, or another run is in it, or the checkpoint to resume from cannot be
   *   read; the last error of a reward that fails; NonFiniteError for a reward, a log-probability or a gradient, before
   *   the step it would enter
   */
  train({ signal }: { signal?: AbortSignal } = {}): AsyncGenerator<DDPOMetrics, void, void> {
    return this.#run.execute((tracker) => this.#loop(tracker, signal), signal);
  }

  /**
   * Writes `checkpoints/checkpoint_<globalStep>/` and deletes the oldest beyond `num_checkpoint_limit`. Of several
   * processes all have to call it.
   * @returns its path
   * @throws if the run has no folder
   */
  async saveCheckpoint(): Promise<string> {
    if (!this.#run.folder)
      throw new Error('DDPOTrainer.saveCheckpoint: output_dir got nothing, expected a folder. Set output_dir.');
    return this.#run.saveCheckpoint();
  }

  /**
   * Uploads the files of the run, once it has ended, to a model repository of the Hugging Face hub; see
   * `publishedFiles` and `pushToHub`. Of several processes rank 0 calls it.
   * @throws if the run has no folder or no weights there, and as `pushToHub`
   */
  async pushToHub(id: string, options?: PushOptions): Promise<Pushed> {
    return pushToHub(id, await publishedFiles(this.#run.publishableFolder('DDPOTrainer')), options);
  }

  /** Calls a function while the pipeline has the moving average of the weights (`ema_decay`), if there is one. */
  averaged<T>(run: () => Promise<T>): Promise<T> {
    return this.#average ? this.#average.during(run) : run();
  }

  /** Frees the optimizer's state, averages and the adapter that the trainer created, but not the given pipeline. */
  dispose(): void {
    this.#run.dispose();
  }

  get #rewardMemory(): DetailedReward<M>['memory'] {
    return (this.#options.rewardFunction as Partial<DetailedReward<M>>).memory;
  }

  async *#loop(tracker: Tracker, signal?: AbortSignal): AsyncGenerator<DDPOMetrics, void, void> {
    const { num_epochs, save_freq } = this.config;
    const evaluateIfDue = () => {
      const { globalStep: step, epoch } = this;
      const time = { step, epoch, folder: this.#run.folder?.path, tracker, signal };
      return this.times.during('evaluation', () => this.#evaluations.runIfDue(time));
    };
    await evaluateIfDue();
    while (this.epoch < num_epochs && !this.#evaluations.heldOut?.isExhausted) {
      const metrics = await this.#attemptEpoch(tracker, signal);
      await tracker.log(metrics);
      this.#run.complete();
      await evaluateIfDue();
      if (this.#run.folder && this.epoch % save_freq === 0) await this.saveCheckpoint();
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
    const { globalStep, epoch, config } = this;
    const rewards = await this.times.during('sampling', () => this.#draw(tracker, signal));
    const { images, own, counts, failedImages } = rewards;
    const limit = config.train_adv_clip_max;
    const advantages = this.#advantages(
      images.map(({ prompt }) => prompt),
      images.map(({ reward }) => reward),
    ).map((advantage) => Math.max(-limit, Math.min(limit, advantage)));
    const judged = own.map(({ sample, place }) => ({ sample, advantage: advantages[place]! }));
    const update = (move: () => void) => this.#run.update(move);
    const policy = await this.times.during('gradient', () =>
      this.#updates.train(judged, { epoch, counts, signal, update }),
    );
    this.#rewardMemory?.observe(termsOf(rewards));
    this.#progress.epoch++;
    return {
      epoch,
      globalStep,
      ...rewardMetrics(rewards),
      ...policy,
      ...(config.on_reward_error === 'skip' && { failedImages }),
      seconds: (performance.now() - started) / 1000,
    };
  }

  #draw(tracker: Tracker, signal?: AbortSignal): Promise<EpochRewards> {
    const { globalStep: step, epoch } = this;
    const { imageSamplesHook = logSamples } = this.#options;
    const showSamples = (samples: ImageSamples<M>) =>
      this.#failures.attempt('imageSamplesHook', () => imageSamplesHook(samples, step, tracker));
    const isShown = this.#collective.rank === 0 && epoch % this.config.log_image_freq === 0;
    const draw = () => this.#rollouts.draw({ step, epoch }, isShown ? showSamples : undefined, signal);
    return gatherRewards(this.#collective, epoch, draw, signal);
  }
}

function warnOfConfig({ train_cfg, sample_guidance_scale }: DDPOConfig, logger: Logger): void {
  if (train_cfg || sample_guidance_scale <= 1) return;
  logger.warn(
    'train_cfg is false with guidance: importance ratios compare the unguided prediction with the guided one ' +
      'that drew the images, and most are clipped.',
  );
}
