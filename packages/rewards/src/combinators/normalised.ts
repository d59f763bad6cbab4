import { excerptJson } from '@alignprop/autograd-ext/outside';
import { mul, scalar, sub, type Tensor1D } from '@tensorflow/tfjs-core';
import type { DetailedReward, ModelReward, RewardFunction, RewardMemory } from '../reward.js';
import { combine } from './combine.js';
import { isStatisticsState, RunningStatistics } from './running-statistics.js';

/**
 * Standardises a reward: (reward - mean) / √(variance + 1e-8), with mean and variance of all scores observed so far, so
 * that rewards of different scales can be summed. The statistics change only when `memory.observe` is called, which a
 * trainer does after each step; within a step the reward is a fixed function. With fewer than two observed scores the
 * variance counts as 1.
 *
 * Every score has the same weight, as in the running normalisation of OpenAI's Baselines. A moving average would divide
 * by the standard deviation of recent steps alone: it shrinks as samples become similar, and the gradient would grow
 * without bound.
 *
 * The term `raw` is the score before standardising; the reward's own terms are renamed to `raw.<term>`.
 */
export function normalised<M = unknown>(reward: ModelReward<M>): ModelReward<M>;
export function normalised<M = unknown>(reward: RewardFunction<M>): DetailedReward<M>;
export function normalised<M = unknown>(reward: RewardFunction<M>): DetailedReward<M> {
  const statistics = new RunningStatistics();
  return combine(
    'normalised',
    { reward },
    {
      // Inputs rather than constants, which compilation would freeze at their first values.
      inputs: () => [scalar(statistics.mean), scalar(1 / Math.sqrt(statistics.variance + 1e-8))],
      score: ([scores], mean, factor) => [mul(sub(scores!, mean!), factor!) as Tensor1D, scores!],
      terms: ['raw'],
      rename: (_, term) => `raw.${term}`,
      memory: memoryOf(statistics),
    },
  );
}

const memoryOf = (statistics: RunningStatistics): RewardMemory => ({
  observe: ({ raw }) => {
    const index = raw?.findIndex((score) => !Number.isFinite(score)) ?? 0;
    if (index >= 0)
      throw new Error(
        `normalised: observed score ${index} got ${raw?.[index]}, expected a finite number. ` +
          "Hand in the values of the term 'raw'.",
      );
    statistics.add(raw!);
  },
  state: () => statistics.state(),
  restore: (state) => {
    if (!isStatisticsState(state))
      throw new Error(
        `normalised: state got ${excerptJson(state)}, expected { count, mean, squares }. ` +
          'It was written for another reward.',
      );
    statistics.restore(state);
  },
});
