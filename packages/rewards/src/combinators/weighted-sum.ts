import { add, mul, type Tensor1D } from '@tensorflow/tfjs-core';
import type { DetailedReward, ModelReward, RewardFunction } from '../reward.js';
import { combine } from './combine.js';

type Parts<R> = Readonly<Record<string, readonly [reward: R, weight: number]>>;

/**
 * Σ weight·reward. The terms are the products by the names of the parts, then the parts' own terms, unweighted, as
 * `name.term`. An engine can compile the sum if it can compile all parts.
 * @param parts name → [reward, weight]; weights are finite. A negative weight penalises. A reward of weight 0 is only
 *   logged: its term is its own score, and the sum is the same without it.
 * @throws if there is no part, or a weight is not finite (lists all such weights)
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
      const products = scores.map((score, i): Tensor1D => mul(score, weights[i]!));
      const terms = products.map((product, i) => (weights[i] === 0 ? scores[i]! : product));
      return [products.reduce((sum, product) => add(sum, product)), ...terms];
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
      `weightedSum: ${bad.map((name) => `'${name}' got ${describe(parts[name])}`).join(', ')}, ` +
        'expected [a function, a finite weight].',
    );
}

const describe = (part?: readonly unknown[]) =>
  `[${part?.map((value) => (typeof value === 'function' ? 'a function' : String(value))).join(', ')}]`;
