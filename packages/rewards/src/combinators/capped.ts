import { minimum } from '@tensorflow/tfjs-core';
import type { DetailedReward, ModelReward, RewardFunction } from '../reward.js';
import { combine } from './combine.js';

/**
 * min(reward, target). An image that scores above the target has no gradient, so that training does not exaggerate what
 * the reward likes. The term `uncapped` is the score before capping; the reward's own terms are renamed to
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
