import { dispose } from '@tensorflow/tfjs-core';
import type { RewardMemory } from '@alignprop/rewards';
import type { Collective } from '../collective/collective.js';
import type { AlignPropConfig } from '../config/config.js';
import type { AlignPropGradient } from '../gradient/alignprop-gradient.js';
import { atSharperWeights } from '../gradient/sharper-weights.js';
import type { Logger } from '../logger.js';
import type { TrainedWeights } from '../model/trained-weights.js';
import type { WeightsAverage } from '../model/weights-average.js';
import { clipByGlobalNorm } from '../optim/clip-by-global-norm.js';
import { configuredLearningRate } from '../optim/learning-rate.js';
import type { Optimizer } from '../optim/optimizer.js';
import type { DataTerm } from './data-term.js';
import { restoreGenerators, saveGenerators, type Generators, type GeneratorStates } from './generators.js';
import type { ImageSamples } from './image-samples.js';
import type { StepMetrics } from '../trackers/metrics.js';
import type { PhaseTimes } from '../trackers/phase-times.js';
import type { MicroBatches } from './micro-batch.js';
import { statisticsOf, termsOf } from './statistics.js';
import { StepAttempts, stepName } from './step-attempts.js';
import { StepTotals, type MeanGradients } from './step-totals.js';

export interface TrainingStepOptions<M> {
  config: AlignPropConfig;
  batches: MicroBatches<M>;
  gradient: AlignPropGradient<M>;
  /** The loss of data beside the reward. */
  data: DataTerm | undefined;
  generators: Generators;
  optimizer: Optimizer;
  /** The trained weights by parameter path. */
  variables: TrainedWeights['variables'];
  /** The moving average of the weights. */
  average: WeightsAverage | undefined;
  /** For a reward that learns from its scores. */
  rewardMemory: RewardMemory | undefined;
  collective: Collective;
  /** Gets the durations of sampling and of the gradient. */
  times: PhaseTimes;
  logger: Logger;
}

/** The run that a step belongs to. */
export interface StepContext<M> {
  /** Optimizer steps taken before this one. */
  readonly globalStep: number;
  readonly signal?: AbortSignal;
  /** Calls `move`, which changes the weights, and counts the step. */
  update(move: () => void): void;
  /** Reports the images of the step; undefined where nobody looks at them. */
  readonly showSamples: ((samples: ImageSamples<M>, globalStep: number) => void | Promise<void>) | undefined;
}

/**
 * One optimizer step of AlignProp. From the trainer's loop the calls lead to the engine through `run`, `#gradients`,
 * `MicroBatchGradient.walkUp`, `walkUp`, its `stepUp`, and `PipelineChain.predictionVjp`.
 */
export class TrainingStep<M> {
  readonly #options: TrainingStepOptions<M>;
  readonly #learningRate: (step: number) => number;
  #hasWarned = false;

  constructor(options: TrainingStepOptions<M>) {
    const { config } = options;
    this.#options = options;
    this.#learningRate = configuredLearningRate(config, config.num_epochs);
  }

  /**
   * Takes one optimizer step. The numbered lines are those of "One training step" in ARCHITECTURE.md: images are
   * `[B, H, W, 3]`, latents `[B, h, w, C]`, embeddings `[B, L, D]`.
   * @throws NonFiniteError, or the signal's reason: nothing stays allocated then, and weights, optimizer and generators
   *   are as before the step
   */
  async run({ globalStep, signal, update, showSamples }: StepContext<M>): Promise<StepMetrics> {
    const started = performance.now();
    const { config, generators } = this.#options;
    const show = this.#isShown(globalStep) ? showSamples : undefined;
    const attempts = new StepAttempts({ ...this.#options, globalStep, onNonFinite: config.on_nonfinite });
    for (;;) {
      const [totals, sharper] = [new StepTotals<M>(), new StepTotals<M>()];
      try {
        const draws = saveGenerators(generators);
        const call = { globalStep, signal };
        const here = await this.#gradients(totals, { ...call, isShown: show !== undefined }); // 1 to 9
        const mean = await this.#atSharperWeights(here, draws, () => this.#gradients(sharper, call));
        attempts.succeed();
        const rate = this.#move(mean, globalStep, update); // 10 clip, move
        await show?.(totals.samples, globalStep); // 11 report
        return { ...this.#metrics(mean, globalStep, rate, attempts.skipped), seconds: secondsSince(started) };
      } catch (error) {
        await attempts.recover(error, signal);
      } finally {
        totals.dispose();
        sharper.dispose();
      }
    }
  }

  /**
   * Adds up the gradients of the micro-batches of a step, and averages them over processes.
   * @param call.isShown whether somebody looks at the pictures of the last micro-batch
   */
  async #gradients(
    totals: StepTotals<M>,
    { globalStep, isShown = false, signal }: Pick<StepContext<M>, 'globalStep' | 'signal'> & { isShown?: boolean },
  ): Promise<MeanGradients> {
    const { config, batches, gradient, data, generators, collective, times } = this.#options;
    const { train_gradient_accumulation_steps: rounds } = config;
    for (let round = 0; round < rounds; round++) {
      signal?.throwIfAborted();
      const scope = totals.begin();
      const texts = await batches.drawPrompts(this.#firstImage(globalStep, round)); // 1 draw: B prompts, metadata
      const embeds = scope.own(await batches.encode(texts)); // 2 encode: [B, L, D]
      const latents = scope.own(await batches.drawLatents(texts)); // 3 start: x_T [B, h, w, C]
      const plan = batches.drawPlan(); // 4 plan: one entry per denoising step
      const call = { context: { step: globalStep, epoch: globalStep }, lossScale: 1 / rounds, signal };
      const window = batches.drawWindow();
      const inputs = { ...texts, ...embeds, ...call, latents, plan, window, noise: generators.noise };
      const microBatch = scope.own(gradient.begin(inputs));
      const walked = await times.during('sampling', () => microBatch.walkDown()); // 5 walk down: x_T … x_0
      const trajectory = scope.own(walked); // each [B, h, w, C]
      await times.during('gradient', async () => {
        const judged = scope.own(await microBatch.judge(trajectory)); // 6 judge: rewards [B], dL/dx_0 [B, h, w, C]
        const up = scope.own(await microBatch.walkUp(trajectory, judged)); // 7 walk up: dL/dθ, over attached steps
        const isPictured = isShown && round === rounds - 1;
        const images = isPictured ? scope.own(await microBatch.pictures(trajectory, judged)) : judged.images;
        const gradients = await microBatch.gather(up.params, trajectory); // 8 gather
        await totals.add(gradients, { ...judged, images }, texts, up.penalties);
        if (data) totals.addData(await data.gradients(1 / rounds)); // 9 data: of the diffusion loss
      });
    }
    return totals.mean(collective, stepName(globalStep), signal); // 8 and 9 over processes
  }

  /**
   * With `weight_perturbation`, the gradients of the same draws where the weights are moved to a higher loss; the
   * rewards stay those of the weights as they are.
   */
  async #atSharperWeights(
    here: MeanGradients,
    draws: GeneratorStates,
    gradients: () => Promise<MeanGradients>,
  ): Promise<MeanGradients> {
    const { config, generators, variables } = this.#options;
    if (config.weight_perturbation === 0) return here;
    restoreGenerators(generators, draws);
    const there = await atSharperWeights(variables, here, config.weight_perturbation, gradients);
    return { ...there, rounds: here.rounds };
  }

  /** The number of images that all processes drew before a micro-batch of this one. */
  #firstImage(globalStep: number, round: number): number {
    const { config, collective } = this.#options;
    const { train_gradient_accumulation_steps: rounds, train_batch_size: batch } = config;
    return ((globalStep * rounds + round) * collective.size + collective.rank) * batch;
  }

  #isShown(globalStep: number): boolean {
    const { config, collective } = this.#options;
    return collective.rank === 0 && globalStep % config.log_image_freq === 0;
  }

  /** Clips the gradients and moves the weights. @returns the learning rate */
  #move(
    { gradients, norm, gradNorm, rounds }: MeanGradients,
    globalStep: number,
    update: StepContext<M>['update'],
  ): number {
    const { config, optimizer, average, rewardMemory, logger } = this.#options;
    if (gradNorm === 0 && !this.#hasWarned) {
      this.#hasWarned = true;
      logger.warn(
        `The gradient of step ${globalStep} is zero: nothing is learned from it. ` +
          'Is the reward differentiable where these images are? Further such steps are not reported.',
      );
    }
    const clipped = clipByGlobalNorm(gradients, norm, config.train_max_grad_norm);
    const rate = this.#learningRate(optimizer.steps);
    update(() => {
      optimizer.step(clipped, rate);
      dispose(clipped);
      average?.update(optimizer.steps);
      rewardMemory?.observe(termsOf(rounds));
    });
    return rate;
  }

  #metrics(
    { gradNorm, rounds }: MeanGradients,
    globalStep: number,
    rate: number,
    skipped: number | undefined,
  ): Omit<StepMetrics, 'seconds'> {
    return {
      epoch: globalStep,
      globalStep,
      ...statisticsOf(rounds, this.#options.config),
      gradNorm,
      ...(skipped !== undefined && { skipped }),
      learningRate: rate,
    };
  }
}

const secondsSince = (started: number): number => (performance.now() - started) / 1000;
