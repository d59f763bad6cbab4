import { add, mul, type Tensor1D } from '@tensorflow/tfjs-core';
import type { DetailedReward, ModelReward, RewardFunction } from '../reward.js';
import { combine } from './combine.js';

type Parts<R> = Readonly<Record<string, readonly [reward: R, weight: number]>>;

/**
 * Σ weight·reward. Its terms are the products, by the names given, and then what the rewards' own terms are, as
 * `name.term` and not weighted. If all rewards can be compiled, so can the sum.
 * @param parts name → [reward, weight]; weights are finite, negative ones punish, 0 only logs
 * @throws if there is no part or a weight is not finite; all such weights are listed
 */
export function weightedSum<M = unknown>(parts: Parts<ModelReward<M>>): ModelReward<M>;
export function weightedSum<M = unknown>(parts: Parts<RewardFunction<M>>): DetailedReward<M>;
export function weightedSum<M = unknown>(parts: Parts<RewardFunction<M>>): DetailedReward<M> {
  const names = Object.keys(parts);
  check(parts);
  const weights = names.map((name) => parts[name]![1]);
  const rewards = Object.fromEntries(names.map((name) => [name, parts[name]![0]]));
  return combine('weightedSum', rewards, {
    score: (scores) => {
      const terms = scores.map((score, i) => mul(score, weights[i]!) as Tensor1D);
      return [terms.reduce((sum, term) => add(sum, term)), ...terms];
    },
    terms: names,
    rename: (name, term) => `${name}.${term}`,
  });
}

function check(parts: Readonly<Record<string, readonly unknown[]>>): void {
  const names = Object.keys(parts);
  if (names.length === 0)
    throw new Error('weightedSum: parts got {}, expected at least one { name: [reward, weight] }.');
  const bad = names.filter((name) => typeof parts[name]?.[0] !== 'function' || !Number.isFinite(parts[name][1]));
  if (bad.length)
    throw new Error(
      `weightedSum: ${bad.map((name) => `'${name}' got ${describe(parts[name])}`).join(', ')}, expected [a function, a finite weight].`,
    );
}

const describe = (part?: readonly unknown[]) =>
  `[${part?.map((value) => (typeof value === 'function' ? 'a function' : String(value))).join(', ')}]`;
