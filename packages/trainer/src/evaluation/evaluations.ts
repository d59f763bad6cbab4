import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { BlackBoxReward, RewardFunction } from '@alignprop/rewards';
import type { RewardContext } from '@alignprop/rewards/interface';
import type { Collective } from '../collective/collective.js';
import { byRankZero } from '../collective/together.js';
import type { AlignPropConfig } from '../config/config.js';
import type { Logger } from '../logger.js';
import type { TrainedWeights } from '../model/trained-weights.js';
import type { WeightsAverage } from '../model/weights-average.js';
import type { FailureReports } from '../trackers/failure-reports.js';
import { logEvaluationSamples } from '../trackers/log-samples.js';
import { describeEvaluation, type EvaluationMetrics } from '../trackers/metrics.js';
import type { Tracker } from '../trackers/tracker.js';
import type { EvaluatedImages } from './evaluator.js';
import { HeldOut, type HeldOutConfig, type HeldOutOptions } from './held-out.js';
import { ShownImages, type EvaluationSamples } from './shown-images.js';

/** Called on rank 0 after every evaluation with up to 16 of its images. */
export type EvaluationSamplesHook = (
  samples: EvaluationSamples,
  globalStep: number,
  tracker: Tracker,
) => void | Promise<void>;

export interface EvaluationsOptions<M> {
  /** The name of the trainer, with which errors begin. */
  owner: string;
  config: HeldOutConfig & Pick<AlignPropConfig, 'eval_freq'>;
  /** The held-out prompts; needed where `eval_freq` is set. */
  evaluation: HeldOutOptions<M> | undefined;
  /** Judges the images where `evaluation` has no reward. */
  rewardFunction: RewardFunction<M> | BlackBoxReward<M>;
  evaluationSamplesHook: EvaluationSamplesHook | undefined;
  /** The pipeline that is trained. */
  pipeline: StableDiffusionPipeline;
  weights: TrainedWeights;
  /** Evaluated in place of the weights, where there is one. */
  average: WeightsAverage | undefined;
  collective: Collective;
  failures: FailureReports;
  logger: Logger;
}

/** A moment of a run: between two epochs. */
export interface EvaluationTime extends RewardContext {
  /** The run's folder, which gets the best weights; undefined for a run that writes none. */
  readonly folder: string | undefined;
  readonly tracker: Tracker;
  readonly signal?: AbortSignal;
}

/** The evaluations of a run: on rank 0, of the weights or their average, with the best exported to `best/`. */
export class Evaluations<M> {
  /** Undefined for a run without evaluations. */
  readonly heldOut: HeldOut<M> | undefined;
  readonly #options: EvaluationsOptions<M>;

  /** @throws if evaluations are requested without prompts for them */
  constructor(options: EvaluationsOptions<M>) {
    const { owner, config, evaluation, rewardFunction, pipeline } = options;
    this.#options = options;
    if (config.eval_freq === null) return;
    if (!evaluation) {
      throw new Error(
        `${owner}: eval_freq got ${config.eval_freq} without held-out prompts. ` +
          'Pass evaluation: { prompts } (--eval-prompts).',
      );
    }
    const rewarded = { ...evaluation, rewardFunction: evaluation.rewardFunction ?? rewardFunction };
    this.heldOut = new HeldOut(pipeline, config, config.eval_freq, rewarded, options.weights.variables);
  }

  /** Evaluates if that is due, and exports the weights if they are the best so far. All processes call it. */
  async runIfDue(time: EvaluationTime): Promise<void> {
    const { heldOut } = this;
    if (!heldOut?.isDue(time)) return;
    const { collective, average, logger } = this.#options;
    const started = performance.now();
    const evaluate = () => this.#evaluate(heldOut, time);
    const evaluated = await byRankZero(collective, `evaluation ${time.step}`, time.signal, async () => {
      if (time.signal?.aborted) return undefined;
      return average ? average.during(evaluate) : evaluate();
    });
    if (!evaluated) return;
    const { metrics, state } = evaluated;
    await time.tracker.logEvaluation?.(metrics);
    heldOut.restore(state);
    const seconds = (performance.now() - started) / 1000;
    logger.info(describeEvaluation(metrics) + (seconds > 1 ? ` in ${seconds.toFixed(1)} s` : ''));
    if (heldOut.hasCollapsed)
      logger.warn(
        `The pictures of held-out prompts have collapsed: ${collapseText(metrics)}. ` +
          `The best weights so far are those after ${metrics.bestStep} steps.`,
      );
    if (heldOut.isExhausted) logger.info(`The run ${heldOut.describeExhaustion()}`);
  }

  async #evaluate(
    heldOut: HeldOut<M>,
    { step, epoch, folder, tracker, signal }: EvaluationTime,
  ): Promise<{ metrics: EvaluationMetrics; state: unknown }> {
    const { evaluationSamplesHook: hook = logEvaluationSamples, pipeline, weights, failures } = this.#options;
    const shown = new ShownImages();
    try {
      const onImages = (drawn: EvaluatedImages) => shown.add(drawn);
      const { metrics, state } = await heldOut.run(pipeline, { context: { step, epoch }, onImages, signal });
      await failures.attempt('evaluationSamplesHook', () => shown.show((samples) => hook(samples, step, tracker)));
      if (metrics.isBest && folder !== undefined) await weights.export(`${folder}/best`);
      return { metrics, state };
    } finally {
      shown.dispose();
    }
  }
}

/** The figures of pictures that have collapsed. */
const collapseText = ({ diversity, recognised }: EvaluationMetrics): string =>
  `diversity ${diversity?.toFixed(4)}` +
  (recognised === undefined ? '' : `, ${Math.round(100 * recognised)} % recognised`);
