import { minimum } from '@tensorflow/tfjs-core';
import type { DetailedReward, ModelReward, RewardFunction } from '../reward.js';
import { combine } from './combine.js';

/**
 * min(reward, target): an image that scores above the target has no gradient, so that nothing is gained by exaggerating
 * what the reward likes. Its term `uncapped` is the reward's own score; terms of the reward are called
 * `uncapped.<term>`.
 * @param target in the reward's units
 * @throws if the target is not finite
 */
export function capped<M = unknown>(reward: ModelReward<M>, target: number): ModelReward<M>;
export function capped<M = unknown>(reward: RewardFunction<M>, target: number): DetailedReward<M>;
export function capped<M = unknown>(reward: RewardFunction<M>, target: number): DetailedReward<M> {
  if (!Number.isFinite(target)) throw new Error(`capped: target got ${target}, expected a finite number.`);
  return combine(
    'capped',
    { reward },
    {
      score: ([scores]) => [minimum(scores!, target), scores!],
      terms: ['uncapped'],
      rename: (_, term) => `uncapped.${term}`,
    },
  );
}
