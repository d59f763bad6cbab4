import { z } from 'zod';
import { dispose } from '@tensorflow/tfjs-core';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { RewardFunction } from '@alignprop/rewards';
import type { AlignPropConfig } from '../config/config.js';
import { evaluator, type Evaluate } from './evaluator.js';
import { type EvaluationMetrics } from '../step/metrics.js';
import { meanAndStd } from '../step/statistics.js';

/** What a run is judged by while it trains. */
export interface HeldOutOptions<M> {
  /** Best ones that are not trained on. */
  prompts: readonly string[];
  /** One a prompt. */
  promptMetadata?: readonly M[];
  /**
   * By default the reward that is trained, which cannot see that it is over-optimised: another one can. One that
   * changes with what it has seen (`normalised`) makes evaluations of different steps incomparable.
   */
  rewardFunction?: RewardFunction<M>;
}

const stateSchema = z.strictObject({
  step: z.int().min(0),
  best: z.number(),
  best_step: z.int().min(0),
  stale: z.int().min(0),
});

/** Evaluations in the course of a run: when, how many since the best, and whether that is enough. */
export class HeldOut<M> {
  readonly #frequency: number;
  readonly #patience: number;
  readonly #evaluate: Evaluate;
  #state: z.output<typeof stateSchema> | undefined;

  /** @throws if there is no prompt */
  constructor(
    pipeline: StableDiffusionPipeline,
    config: AlignPropConfig,
    frequency: number,
    options: Required<Pick<HeldOutOptions<M>, 'rewardFunction'>> & HeldOutOptions<M>,
  ) {
    this.#frequency = frequency;
    this.#patience = config.early_stopping_patience ?? Infinity;
    this.#evaluate = evaluator(pipeline.engine, { ...options, config });
  }

  /** Whether to evaluate after so many steps: before the first, and every `eval_freq`. */
  isDue(globalStep: number): boolean {
    return globalStep % this.#frequency === 0 && this.#state?.step !== globalStep;
  }

  /** Whether `early_stopping_patience` evaluations have passed without a new best. */
  get isExhausted(): boolean {
    return (this.#state?.stale ?? 0) >= this.#patience;
  }

  /** Draws the held-out prompts, always from the same noise, and judges them. */
  async run(pipeline: StableDiffusionPipeline, globalStep: number, signal?: AbortSignal): Promise<EvaluationMetrics> {
    const { images, rewards, diversity } = await this.#evaluate(pipeline, { signal });
    dispose(images);
    const { mean, std } = meanAndStd(rewards);
    const isBest = this.#state === undefined || mean > this.#state.best;
    this.#state = isBest
      ? { step: globalStep, best: mean, best_step: globalStep, stale: 0 }
      : { ...this.#state!, step: globalStep, stale: this.#state!.stale + 1 };
    return { globalStep, rewardMean: mean, rewardStd: std, diversity, isBest, bestStep: this.#state.best_step };
  }

  /** As JSON, for checkpoints. */
  state(): unknown {
    return this.#state;
  }

  /** @throws if it is not what `state` gave */
  restore(state: unknown): void {
    this.#state = stateSchema.optional().parse(state);
  }
}
