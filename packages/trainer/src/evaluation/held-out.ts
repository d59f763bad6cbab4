import { z } from 'zod';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { BlackBoxReward, RewardFunction } from '@alignprop/rewards';
import type { RewardContext } from '@alignprop/rewards/interface';
import type { AlignPropConfig } from '../config/config.js';
import { evaluator, type Evaluate, type EvaluateOptions, type EvaluatorConfig } from './evaluator.js';
import { type EvaluationMetrics } from '../trackers/metrics.js';
import { meanAndStd } from '../step/statistics.js';
import type { TrainedWeights } from '../model/trained-weights.js';
import { Recognition } from './recognition.js';

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
  /** The figures that others are compared with: those of the first evaluation. */
  first_diversity: z.number().optional(),
  first_recognised: z.number().optional(),
  has_collapsed: z.boolean().optional(),
});
type HeldOutState = z.output<typeof stateSchema>;

/** The share of diversity and of recognition, beyond chance, below which pictures have collapsed. */
const collapsedShare = 0.5;

/** The share of diversity that the best weights keep: pictures with less are pale or alike before they collapse. */
const soundShare = 0.7;

export type HeldOutConfig = EvaluatorConfig &
  Pick<AlignPropConfig, 'early_stopping_patience' | 'on_collapse' | 'use_lora' | 'lora_kind'> &
  Partial<Pick<AlignPropConfig, 'train_text_encoder'>>;

/** Whether the model without the adapter is the one whose B is 0. */
const isPlainAdapter = (config: HeldOutConfig): boolean =>
  config.use_lora && config.lora_kind === 'lora' && !config.train_text_encoder;

type Drawn = Parameters<NonNullable<EvaluateOptions['recognise']>>;

/** Evaluates a run on held-out prompts: when an evaluation is due, the best so far, and early stopping. */
export class HeldOut<M> {
  readonly #frequency: number;
  readonly #patience: number;
  readonly #evaluate: Evaluate;
  readonly #onCollapse: AlignPropConfig['on_collapse'];
  readonly #recognition: Recognition | undefined;
  #state: HeldOutState | undefined;

  /** @throws if there is no prompt */
  constructor(
    pipeline: StableDiffusionPipeline,
    config: HeldOutConfig,
    frequency: number,
    options: Required<Pick<HeldOutOptions<M>, 'rewardFunction'>> & HeldOutOptions<M>,
    variables: TrainedWeights['variables'] = {},
  ) {
    this.#frequency = frequency;
    this.#patience = config.early_stopping_patience ?? Infinity;
    this.#onCollapse = config.on_collapse;
    if (this.#onCollapse !== 'ignore' && Recognition.isPossible(pipeline, options.prompts, isPlainAdapter(config)))
      this.#recognition = new Recognition(options.prompts, variables, config);
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

  /** Whether the pictures of the last evaluation have collapsed. */
  get hasCollapsed(): boolean {
    return this.#state?.has_collapsed ?? false;
  }

  /** Whether the last `early_stopping_patience` evaluations brought no new best, or the last one ends the run. */
  get isExhausted(): boolean {
    return (this.#state?.stale ?? 0) >= this.#patience || (this.hasCollapsed && this.#onCollapse === 'stop');
  }

  /** Says after which step the run stopped early and why; undefined unless it did. */
  describeExhaustion(): string | undefined {
    if (!this.#state || !this.isExhausted) return undefined;
    const { step, stale, best, best_step: bestStep } = this.#state;
    if (this.hasCollapsed) return `stopped after step ${step}: its pictures of held-out prompts have collapsed.`;
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
    const recognition = this.#recognition;
    const recognise = recognition && ((...drawn: Drawn) => recognition.recognise(pipeline, ...drawn));
    const { rewards, diversity, recognised } = await this.#evaluate(pipeline, { ...options, recognise });
    const { step: globalStep } = options.context;
    const { mean, std } = meanAndStd(rewards);
    const first = { first_diversity: diversity, first_recognised: recognised, ...this.#state };
    const hasCollapsed = this.#onCollapse !== 'ignore' && this.#isCollapse(first, diversity, recognised);
    const isSound = this.#onCollapse === 'ignore' || !isBelow(soundShare, first.first_diversity, diversity);
    const isBest = this.#state === undefined || (mean > this.#state.best && !hasCollapsed && isSound);
    const state: HeldOutState = {
      ...first,
      ...(isBest
        ? { best: mean, best_step: globalStep, stale: 0 }
        : { ...this.#state!, stale: this.#state!.stale + 1 }),
      step: globalStep,
      ...(this.#onCollapse !== 'ignore' && { has_collapsed: hasCollapsed }),
    };
    const bestStep = state.best_step;
    const figures = { diversity, recognised, ...(this.#onCollapse !== 'ignore' && { hasCollapsed }) };
    return { metrics: { globalStep, rewardMean: mean, rewardStd: std, ...figures, isBest, bestStep }, state };
  }

  /**
   * Whether diversity is below half of the first, or recognition below half of the way from chance to the first. A
   * model that recognised little at first says nothing.
   */
  #isCollapse(
    { first_diversity: diverse = 0, first_recognised: known = 0 }: Partial<HeldOutState>,
    diversity = Infinity,
    recognised = Infinity,
  ): boolean {
    if (isBelow(collapsedShare, diverse, diversity)) return true;
    const chance = 1 / new Set(this.#recognition?.prompts).size;
    return known > 2 * chance && recognised < chance + collapsedShare * (known - chance);
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

/** Whether a figure is below a share of its first value. */
const isBelow = (share: number, first = 0, now = Infinity): boolean => now < share * first;
