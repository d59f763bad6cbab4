import { Tensor, type Tensor1D, type Tensor4D } from '@tensorflow/tfjs-core';
import type { Engine } from '@alignprop/autograd-ext';
import type { ModelReward, RewardFunction } from '@alignprop/rewards';
import { RewardScorer } from '../gradient/reward-judge.js';

/**
 * A reward for DDPO: any function. It needs no gradient, and may read pixels, take its time, or ask a service. `images`
 * is `[B, H, W, 3]` in [0, 1] and stays the trainer's; one number per image is expected. A returned tensor is the
 * trainer's.
 */
export type BlackBoxReward<M = unknown> = (
  images: Tensor4D,
  prompts: readonly string[],
  promptMetadata: readonly M[],
) => ArrayLike<number> | Tensor1D | Promise<ArrayLike<number> | Tensor1D>;

/** Calls any reward function; one with a model runs on the engine. */
export class BlackBoxJudge<M> {
  readonly #score: BlackBoxReward<M>;

  constructor(engine: Engine, rewardFunction: BlackBoxReward<M> | RewardFunction<M>) {
    this.#score = rewardFunction;
    if ('model' in rewardFunction && (rewardFunction as Partial<ModelReward<M>>).model !== undefined) {
      const scorer = new RewardScorer(engine, rewardFunction as RewardFunction<M>);
      this.#score = (...args) => scorer.score(...args);
    }
  }

  /**
   * Rewards images `[B, H, W, 3]`.
   * @returns one number per image
   * @throws if the function returns another number of values
   */
  async judge(images: Tensor4D, prompts: readonly string[], promptMetadata: readonly M[]): Promise<number[]> {
    const rewards = await numbers(await this.#score(images, prompts, promptMetadata));
    if (rewards.length === prompts.length) return rewards;
    throw new Error(
      `rewardFunction: returned ${rewards.length} numbers, expected ${prompts.length}, one reward an image.`,
    );
  }
}

async function numbers(rewards: ArrayLike<number> | Tensor1D): Promise<number[]> {
  if (!(rewards instanceof Tensor)) return Array.from(rewards);
  return Array.from(await rewards.data().finally(() => rewards.dispose()));
}
