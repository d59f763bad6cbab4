import { isTensor, type Compiled, type Engine, type ModelFunction } from '@alignprop/autograd-ext';
import { record } from '@alignprop/autograd-ext/outside';
import { dispose, engine as tfjs, tidy, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { isPromise, rewardName, scoreNumbers, scoresTensor } from './returned-scores.js';
import {
  isModelReward,
  named,
  outsideRun,
  withName,
  type BlackBoxReward,
  type DetailedReward,
  type RewardContext,
  type RewardFunction,
} from './reward.js';

/** The scores of a batch, and the reward's terms by name, one value an image each. */
export interface BatchScores {
  readonly scores: readonly number[];
  readonly terms: Readonly<Record<string, Float32Array>>;
}

/** Scores batches without a gradient, by any reward: async, black box, with terms, or with a model. */
export class RewardScorer<M = unknown> {
  /** Names the reward in messages. */
  readonly name: string;
  readonly #reward: BlackBoxReward<M> | RewardFunction<M>;
  readonly #engine: Engine | undefined;

  /** @param engine runs a reward that has a model; without it the reward is called */
  constructor(reward: BlackBoxReward<M> | RewardFunction<M>, engine?: Engine) {
    this.name = rewardName(reward);
    this.#reward = reward;
    this.#engine = engine;
  }

  /**
   * Scores images `[B, H, W, 3]` in [0, 1], which stay the caller's.
   * @param context the step and the epoch of the run
   * @throws an error that names the reward, if it throws or returns no score for each image
   */
  async score(
    images: Tensor4D,
    prompts: readonly string[],
    promptMetadata: readonly M[],
    context: RewardContext = outsideRun,
  ): Promise<BatchScores> {
    const call = { reward: this.name, batch: images.shape[0] };
    const { parts } = this.#reward as Partial<ScoredSum<M>>;
    if (parts) return this.#scoreParts(parts, [images, prompts, promptMetadata, context]);
    const { outputs, terms = [] } = this.#reward as Partial<DetailedReward<M>>;
    if (!outputs) {
      const reward = this.#reward as BlackBoxReward<M>;
      const returned = named(call.reward, () => inScope(() => reward(images, prompts, promptMetadata, context)));
      const settled = await Promise.resolve(returned).catch((error: unknown) => {
        throw withName(call.reward, error);
      });
      return { scores: await scoreNumbers(settled, call), terms: {} };
    }
    const tensors = await this.#outputs(outputs, images, prompts, promptMetadata, context);
    tensors.forEach((tensor) => tidy(() => void scoresTensor(tensor, call)));
    const [scores, ...rest] = await Promise.all(tensors.map((tensor) => tensor.data<'float32'>()));
    dispose([...tensors]);
    return { scores: Array.from(scores!), terms: Object.fromEntries(terms.map((term, i) => [term, rest[i]!])) };
  }

  async #scoreParts(parts: ScoredSum<M>['parts'], call: Required<Parameters<BlackBoxReward<M>>>): Promise<BatchScores> {
    const terms = record<Float32Array>();
    const inner = record<Float32Array>();
    const scores = call[1].map(() => 0);
    for (const [name, { reward, weight, cap = Infinity }] of Object.entries(parts)) {
      const scored = await new RewardScorer(reward, this.#engine).score(...call);
      const capped = scored.scores.map((score) => Math.min(score, cap));
      const summands = capped.map((score) => weight * score);
      summands.forEach((summand, i) => (scores[i]! += summand));
      terms[name] = Float32Array.from(weight === 0 ? capped : summands);
      for (const [term, values] of Object.entries(scored.terms)) inner[`${name}.${term}`] = values;
    }
    return { scores, terms: { ...terms, ...inner } };
  }

  async #outputs(
    outputs: DetailedReward<M>['outputs'],
    ...[images, ...texts]: Required<Parameters<RewardFunction<M>>>
  ): Promise<readonly Tensor[]> {
    const reward = this.#reward as RewardFunction<M>;
    if (!this.#engine || !isModelReward(reward)) return tidy(() => [...outputs(images, ...texts)]);
    const { model } = reward;
    const run = compiled(this.#engine, model.score);
    const inputs = model.inputs?.(...texts) ?? [];
    return run(model.params, images, ...inputs).finally(() => dispose([...inputs]));
  }
}

/** One summand of `scoredSum`: weight · min(score, cap). */
export interface ScoredPart<M> {
  readonly reward: BlackBoxReward<M> | RewardFunction<M>;
  readonly weight: number;
  readonly cap?: number;
}

/** A sum of rewards that need no gradient. */
export interface ScoredSum<M = unknown> extends BlackBoxReward<M> {
  readonly parts: Readonly<Record<string, ScoredPart<M>>>;
}

/**
 * Σ weight · min(score, cap) of rewards that need no gradient, each of which may be async. The terms are the summands
 * by name, at weight 0 min(score, cap), then the parts' own as `name.term`.
 */
export function scoredSum<M = unknown>(parts: ScoredSum<M>['parts']): ScoredSum<M> {
  const sum: BlackBoxReward<M> = async (...args) => (await new RewardScorer(scored).score(...args)).scores;
  const scored: ScoredSum<M> = Object.assign(sum, { parts });
  return scored;
}

/** Frees the intermediate tensors of a synchronous function. An async one, which may still need them, keeps its own. */
function inScope<T>(fn: () => T): T {
  tfjs().startScope();
  let result: T | undefined;
  try {
    result = fn();
    return result;
  } finally {
    const { activeScope } = tfjs().state;
    tfjs().endScope((isPromise(result) ? [...activeScope.track] : tensorsIn(result)) as never);
  }
}

const tensorsIn = (value: unknown): unknown[] => [value].flat(2).filter((entry): entry is Tensor => isTensor(entry));

const compiledScores = new WeakMap<Engine, WeakMap<ModelFunction, Compiled>>();

/** Compiles a score function, once for each engine. */
function compiled(engine: Engine, score: ModelFunction): Compiled {
  const ofEngine = compiledScores.get(engine) ?? new WeakMap<ModelFunction, Compiled>();
  compiledScores.set(engine, ofEngine);
  const run = ofEngine.get(score) ?? engine.compile(score, { refresh: true });
  ofEngine.set(score, run);
  return run;
}
