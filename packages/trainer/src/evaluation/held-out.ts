import { z } from 'zod';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { BlackBoxReward, RewardFunction } from '@alignprop/rewards';
import type { RewardContext } from '@alignprop/rewards/interface';
import type { AlignPropConfig } from '../config/config.js';
import { evaluator, type Evaluate, type EvaluateOptions, type EvaluatorConfig } from './evaluator.js';
import { type EvaluationMetrics } from '../trackers/metrics.js';
import { meanAndStd } from '../step/statistics.js';

/** How a run is evaluated while it trains. */
export interface HeldOutOptions<M> {
  /** One or more; choose prompts that are not trained on. */
  prompts: readonly string[];
  /** One per prompt. */
  promptMetadata?: readonly M[];
  /** One per prompt. Where undefined, the prompts take `eval_negative_prompts` or `negative_prompts` in turn. */
  negativePrompts?: readonly (string | undefined)[];
  /**
   * Judges the images; by default the reward that is trained. Only a different reward detects that the trained one is
   * over-optimised. It needs no gradient, and may be async. With one that changes as it sees scores (`normalised`),
   * evaluations of different steps are not comparable.
   */
  rewardFunction?: RewardFunction<M> | BlackBoxReward<M>;
}

const stateSchema = z.strictObject({
  step: z.int().min(0),
  best: z.number(),
  best_step: z.int().min(0),
  stale: z.int().min(0),
});
type HeldOutState = z.output<typeof stateSchema>;

/** Evaluates a run on held-out prompts: when an evaluation is due, the best so far, and early stopping. */
export class HeldOut<M> {
  readonly #frequency: number;
  readonly #patience: number;
  readonly #evaluate: Evaluate;
  #state: HeldOutState | undefined;

  /** @throws if there is no prompt */
  constructor(
    pipeline: StableDiffusionPipeline,
    config: EvaluatorConfig & Pick<AlignPropConfig, 'early_stopping_patience'>,
    frequency: number,
    options: Required<Pick<HeldOutOptions<M>, 'rewardFunction'>> & HeldOutOptions<M>,
  ) {
    this.#frequency = frequency;
    this.#patience = config.early_stopping_patience ?? Infinity;
    this.#evaluate = evaluator(pipeline.engine, { ...options, config });
  }

  /** Whether an evaluation is due: before the first epoch, then every `eval_freq` epochs. */
  isDue({ step, epoch }: RewardContext): boolean {
    return epoch % this.#frequency === 0 && this.#state?.step !== step;
  }

  /** The best evaluation so far: the steps before it and its mean reward. */
  get best(): { readonly step: number; readonly rewardMean: number } | undefined {
    return this.#state && { step: this.#state.best_step, rewardMean: this.#state.best };
  }

  /** Whether the last `early_stopping_patience` evaluations brought no new best. */
  get isExhausted(): boolean {
    return (this.#state?.stale ?? 0) >= this.#patience;
  }

  /** Says after which step the run stopped early and why; undefined unless it did. */
  describeExhaustion(): string | undefined {
    if (!this.#state || !this.isExhausted) return undefined;
    const { step, stale, best, best_step: bestStep } = this.#state;
    const evaluations = stale === 1 ? '1 evaluation' : `${stale} evaluations in a row`;
    const reward = `a higher reward than ${best.toFixed(4)} after ${bestStep} steps`;
    return `stopped early after step ${step}: ${evaluations} without ${reward}.`;
  }

  /**
   * Draws the held-out prompts, from the same noise each time, and judges the images.
   * @returns the metrics, and the state to `restore` once they are recorded: until then the evaluation stays due
   */
  async run(
    pipeline: StableDiffusionPipeline,
    options: EvaluateOptions & { readonly context: RewardContext },
  ): Promise<{ readonly metrics: EvaluationMetrics; readonly state: unknown }> {
    const { rewards, diversity } = await this.#evaluate(pipeline, options);
    const { step: globalStep } = options.context;
    const { mean, std } = meanAndStd(rewards);
    const isBest = this.#state === undefined || mean > this.#state.best;
    const state: HeldOutState = isBest
      ? { step: globalStep, best: mean, best_step: globalStep, stale: 0 }
      : { ...this.#state!, step: globalStep, stale: this.#state!.stale + 1 };
    const bestStep = state.best_step;
    return { metrics: { globalStep, rewardMean: mean, rewardStd: std, diversity, isBest, bestStep }, state };
  }

  /** Returns the state for checkpoints, as a JSON value. */
  state(): unknown {
    return this.#state;
  }

  /** Restores a state that `state` returned. @throws if it has another form */
  restore(state: unknown): void {
    this.#state = stateSchema.optional().parse(state);
  }
}
