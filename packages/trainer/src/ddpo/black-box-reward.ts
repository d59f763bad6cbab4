import { Tensor, type Tensor1D, type Tensor4D } from '@tensorflow/tfjs-core';
import type { Engine } from '@alignprop/autograd-ext';
import type { ModelReward, RewardFunction } from '@alignprop/rewards';
import { rewardScorer } from '../gradient/reward-evaluation.js';

/**
 * What DDPO rewards images by: any function. It needs no gradient, and may read pixels, take its time, or ask
 * elsewhere. `images` is `[B, H, W, 3]` in [0, 1] and stays the trainer's; one number an image is expected, and a
 * tensor of them is the trainer's.
 */
export type BlackBoxReward<M = unknown> = (
  images: Tensor4D,
  prompts: readonly string[],
  promptMetadata: readonly M[],
) => ArrayLike<number> | Tensor1D | Promise<ArrayLike<number> | Tensor1D>;

/** Scores as numbers; one an image. */
export type BlackBoxJudge<M> = (
  images: Tensor4D,
  prompts: readonly string[],
  promptMetadata: readonly M[],
) => Promise<number[]>;

/**
 * Calls any reward function, or has the engine run one that comes in parts.
 * @throws (the function) if there is not one number for each image
 */
export function blackBoxJudge<M>(
  engine: Engine,
  rewardFunction: BlackBoxReward<M> | RewardFunction<M>,
): BlackBoxJudge<M> {
  const inParts = 'model' in rewardFunction && (rewardFunction as Partial<ModelReward<M>>).model !== undefined;
  const score: BlackBoxReward<M> = inParts ? rewardScorer(engine, rewardFunction as RewardFunction<M>) : rewardFunction;
  return async (images, prompts, promptMetadata) => {
    const scores = await numbers(await score(images, prompts, promptMetadata));
    if (scores.length === prompts.length) return scores;
    throw new Error(
      `rewardFunction: returned ${scores.length} numbers, expected ${prompts.length}, one reward an image.`,
    );
  };
}

async function numbers(scores: ArrayLike<number> | Tensor1D): Promise<number[]> {
  if (!(scores instanceof Tensor)) return Array.from(scores);
  return Array.from(await scores.data().finally(() => scores.dispose()));
}
