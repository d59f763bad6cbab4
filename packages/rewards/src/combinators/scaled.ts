import { mul } from '@tensorflow/tfjs-core';
import type { DetailedReward, ModelReward, RewardFunction } from '../reward.js';
import { combine } from './combine.js';

/**
 * factor·reward. The terms of the reward are not scaled.
 * @throws if the factor is not finite
 */
export function scaled<M = unknown>(reward: ModelReward<M>, factor: number): ModelReward<M>;
export function scaled<M = unknown>(reward: RewardFunction<M>, factor: number): DetailedReward<M>;
export function scaled<M = unknown>(reward: RewardFunction<M>, factor: number): DetailedReward<M> {
  if (!Number.isFinite(factor)) throw new Error(`scaled: factor got ${factor}, expected a finite number.`);
  return combine('scaled', { reward }, { score: ([scores]) => [mul(scores!, factor)] });
}

/** −reward. The terms of the reward keep their sign. */
export function negated<M = unknown>(reward: ModelReward<M>): ModelReward<M>;
export function negated<M = unknown>(reward: RewardFunction<M>): DetailedReward<M>;
export function negated<M = unknown>(reward: RewardFunction<M>): DetailedReward<M> {
  return scaled(reward, -1);
}
