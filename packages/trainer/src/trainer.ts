import { checkOptions, optionNames } from '@alignprop/autograd-ext';
import { pushToHub, type Pushed, type PushOptions } from '@alignprop/autograd-ext/weights';
import { dispose } from '@tensorflow/tfjs-core';
import type { Decoder, StableDiffusionPipeline } from '@alignprop/diffusion';
import type { DetailedReward, RewardFunction } from '@alignprop/rewards';
import { singleProcess, type Collective } from './collective/collective.js';
import { parseAlignPropConfig, type AlignPropConfig, type AlignPropConfigInput } from './config/config.js';
import { backpropPlan } from './estimators/config-plan.js';
import type { Plan } from './estimators/plans.js';
import type { Dataset } from './data/examples.js';
import { Evaluations, type EvaluationSamplesHook } from './evaluation/evaluations.js';
import type { HeldOutOptions } from './evaluation/held-out.js';
import { AlignPropGradient, gradientOptions } from './gradient/alignprop-gradient.js';
import { silent, type Logger } from './logger.js';
import { imageSize } from './model/image-size.js';
import { preparePipeline, type PreparedPipeline } from './model/prepare-pipeline.js';
import { WeightsAverage } from './model/weights-average.js';
import { createOptimizer } from './optim/create-optimizer.js';
import { createManifest, type ManifestParts } from './run/manifest.js';
import { ActivationsRemark, warnOfConfig } from './run/remarks.js';
import { ResumableState } from './run/resumable-state.js';
import { publishedFiles } from './run/published-files.js';
import { Run } from './run/run.js';
import { createDataTerm, givenImages } from './step/data-term.js';
import { seededGenerators } from './step/generators.js';
import type { ImageSamples } from './step/image-samples.js';
import type { StepMetrics } from './trackers/metrics.js';
import { MicroBatches, type PromptFunction } from './step/micro-batch.js';
import { TrainingStep } from './step/training-step.js';
import { FailureReports } from './trackers/failure-reports.js';
import { logSamples } from './trackers/log-samples.js';
import { PhaseTimes } from './trackers/phase-times.js';
import type { Tracker } from './trackers/tracker.js';

export interface AlignPropTrainerOptions<M> {
  /** In TRL's spelling or in camel case; see `alignPropConfigSchema`. Few-step models have `modelDefaults`. */
  config?: AlignPropConfigInput;
  /**
   * Stays the caller's. A UNet without trainable weights gets a new adapter; a trainable adapter is trained further.
   */
  pipeline: StableDiffusionPipeline;
  promptFunction: PromptFunction<M>;
  rewardFunction: RewardFunction<M>;
  /**
   * Pictures with captions: of your own, or those that `priorExamples` draws. `data_weight` adds their diffusion loss
   * to the loss; with `estimator_images` 'dataset' the estimator starts from them, and `promptFunction` is not called.
   */
  dataset?: Dataset;
  /**
   * Decodes what the reward judges in training, such as an `AutoencoderTiny` (TAESD): a small decoder takes less time
   * and memory. Pictures and evaluations always come from the pipeline's own decoder, which also judges by default.
   */
  rewardDecoder?: Decoder;
  /**
   * Called on rank 0 every `log_image_freq` steps, from the first. By default the trackers get the images
   * (`logSamples`).
   */
  imageSamplesHook?: (samples: ImageSamples<M>, globalStep: number, tracker: Tracker) => void | Promise<void>;
  /**
   * Called on rank 0 after every evaluation with up to 16 of its images. By default the trackers get them
   * (`logEvaluationSamples`).
   */
  evaluationSamplesHook?: EvaluationSamplesHook;
  /** Receive every step's metrics on rank 0, besides metrics.jsonl; closed when training ends. */
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
  /** Replaces the plan that the configuration describes, whose options then have no effect. */
  plan?: Plan;
}

const trainerOptionNames = optionNames<AlignPropTrainerOptions<unknown>>({
  config: true,
  pipeline: true,
  promptFunction: true,
  rewardFunction: true,
  dataset: true,
  rewardDecoder: true,
  imageSamplesHook: true,
  evaluationSamplesHook: true,
  trackers: true,
  evaluation: true,
  logger: true,
  collective: true,
  manifest: true,
  files: true,
  force: true,
  plan: true,
});

/**
 * Fine-tunes a diffusion model, its LoRA adapter or the whole UNet, by backpropagating a differentiable reward through
 * the denoising chain (AlignProp, arXiv 2310.03739), step by step as TRL's `AlignPropTrainer`, with -mean(reward) as
 * the loss. `TrainingStep.run` is the step, `Run` everything around the loop.
 */
export class AlignPropTrainer<M = undefined> {
  readonly config: AlignPropConfig;
  /** Which denoising steps the gradient enters. */
  readonly plan: Plan;
  /** The time that sampling, gradients, evaluations and saving have taken in this process. */
  readonly times = new PhaseTimes();
  readonly #options: AlignPropTrainerOptions<M>;
  readonly #logger: Logger;
  readonly #prepared: PreparedPipeline;
  readonly #average: WeightsAverage | undefined;
  readonly #evaluations: Evaluations<M>;
  readonly #step: TrainingStep<M>;
  readonly #run: Run;
  readonly #failures: FailureReports;

  /** @throws if the configuration is not valid, or the pipeline's UNet cannot be trained with it */
  constructor(options: AlignPropTrainerOptions<M>) {
    checkOptions('AlignPropTrainer', options, trainerOptionNames);
    const { pipeline, promptFunction, rewardFunction, plan, collective = singleProcess } = options;
    const logger = collective.rank === 0 ? (options.logger ?? silent) : silent;
    const config = parseAlignPropConfig(options.config, pipeline, plan);
    // Throws for a size that does not fit the model.
    pipeline.latentShape({ batch: config.train_batch_size, ...imageSize(config) });
    this.config = config;
    this.plan = plan ?? backpropPlan(config);
    this.#options = options;
    this.#logger = logger;
    this.#failures = new FailureReports((message) => logger.warn(message));
    const generators = seededGenerators(config.seed, collective.rank);
    this.#prepared = preparePipeline(pipeline, config, generators.adapter);
    const { weights, created } = this.#prepared;
    const optimizer = createOptimizer(weights.variables, config);
    const given = givenImages(this.pipeline, options.dataset, config, generators.data);
    const batches = new MicroBatches(this.pipeline, promptFunction, config, this.plan, generators, given);
    batches.checkPlan();
    const average = config.ema_decay > 0 ? new WeightsAverage(weights.variables, config.ema_decay) : undefined;
    this.#average = average;
    this.#evaluations = new Evaluations({
      ...{ owner: 'AlignPropTrainer', config, rewardFunction, weights, average, collective, logger },
      evaluation: options.evaluation,
      evaluationSamplesHook: options.evaluationSamplesHook,
      pipeline: this.pipeline,
      failures: this.#failures,
    });
    const { heldOut } = this.#evaluations;
    const rewardMemory = (rewardFunction as Partial<DetailedReward<M>>).memory;
    const manifest = createManifest('alignprop', config, options.manifest);
    const { times } = this;
    const parts = { config, manifest, generators, optimizer, average, rewardMemory, collective, logger, times };
    const gradient = this.#createGradient();
    const data = createDataTerm(gradient, options.dataset, config, generators.data);
    this.#step = new TrainingStep({ ...parts, ...{ batches, gradient, data, variables: weights.variables } });
    this.#run = new Run({
      ...parts,
      trackers: options.trackers,
      files: options.files,
      state: new ResumableState({ ...parts, weights, heldOut, force: options.force ?? [] }),
      exportWeights: (path) => (config.ema_export ? this.averaged(() => weights.export(path)) : weights.export(path)),
      owned: [optimizer, batches, ...(average ? [average] : []), { dispose: () => dispose(created) }],
    });
    warnOfConfig(config, this.plan, this.pipeline, logger);
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

  /** Optimizer steps taken, those of resumed runs included. */
  get globalStep(): number {
    return this.#run.globalStep;
  }

  /** Epochs that are complete; each is one optimizer step. */
  get epoch(): number {
    return this.#run.globalStep;
  }

  /**
   * Trains up to `num_epochs`, yielding after every optimizer step: the caller owns the loop, and may `break` out of
   * it. However it ends, a checkpoint of the last complete step is written, and the adapter unless an error ended it.
   * An aborted `signal` ends it after the last complete step. Until it ends no other run can have the folder.
   *
   * Several processes must all leave the loop after the same step. A `signal` on one of them ends all; so does an
   * error, by `Collective.abort`.
   * @throws if the run folder is another run's or cannot be written, or the checkpoint to resume from cannot be read,
   *   before any step; NonFiniteError, with weights, optimizer and generators as they were before the step
   */
  train({ signal }: { signal?: AbortSignal } = {}): AsyncGenerator<StepMetrics, void, void> {
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
      throw new Error('AlignPropTrainer.saveCheckpoint: output_dir got nothing, expected a folder. Set output_dir.');
    return this.#run.saveCheckpoint();
  }

  /**
   * Uploads the files of the run, once it has ended, to a model repository of the Hugging Face hub; see
   * `publishedFiles` and `pushToHub`. Of several processes rank 0 calls it.
   * @throws if the run has no folder or no weights there, and as `pushToHub`
   */
  async pushToHub(id: string, options?: PushOptions): Promise<Pushed> {
    return pushToHub(id, await publishedFiles(this.#run.publishableFolder('AlignPropTrainer')), options);
  }

  /** Calls a function while the pipeline has the moving average of the weights (`ema_decay`), if there is one. */
  averaged<T>(run: () => Promise<T>): Promise<T> {
    return this.#average ? this.#average.during(run) : run();
  }

  /** Frees the optimizer's state, averages and the adapters that it created. The given pipeline stays usable. */
  dispose(): void {
    this.#run.dispose();
  }

  async *#loop(tracker: Tracker, signal?: AbortSignal): AsyncGenerator<StepMetrics, void, void> {
    const { num_epochs, save_freq } = this.config;
    const { imageSamplesHook = tracker.logImages && logSamples } = this.#options;
    const evaluateIfDue = () => {
      const { globalStep: step } = this;
      const time = { step, epoch: step, folder: this.#run.folder?.path, tracker, signal };
      return this.times.during('evaluation', () => this.#evaluations.runIfDue(time));
    };
    await evaluateIfDue();
    while (this.globalStep < num_epochs && !this.#evaluations.heldOut?.isExhausted) {
      const metrics = await this.#step.run({
        globalStep: this.globalStep,
        signal,
        update: (move) => this.#run.update(move),
        showSamples:
          imageSamplesHook &&
          ((samples, globalStep) =>
            this.#failures.attempt('imageSamplesHook', () => imageSamplesHook(samples, globalStep, tracker))),
      });
      await tracker.log(metrics);
      this.#run.complete();
      await evaluateIfDue();
      if (this.#run.folder && this.globalStep % save_freq === 0) await this.saveCheckpoint();
      yield metrics;
    }
  }

  #createGradient(): AlignPropGradient<M> {
    const remark = new ActivationsRemark(this.#logger);
    return new AlignPropGradient(this.pipeline, this.#options.rewardFunction, {
      ...gradientOptions(this.config),
      rewardDecoder: this.#options.rewardDecoder,
      warn: (message) => this.#logger.warn(message),
      onActivations: (activations) => remark.log(activations),
    });
  }
}
