import { add, mul, tidy, type Tensor1D, type Tensor4D } from '@tensorflow/tfjs-core';
import type { RewardFunction } from './reward.js';

/** A sum of rewards that can also be had term by term, to log them. */
export interface WeightedSum<M = unknown> extends RewardFunction<M> {
  /** Each term by name, weight included: their sum is the reward. */
  readonly terms: Readonly<Record<string, RewardFunction<M>>>;
}

/**
 * Σ weight·reward.
 * @param parts name → [reward, weight]; weights are finite, negative ones punish, 0 only logs
 * @throws if there is no part or a weight is not finite; all such weights are listed
 */
export function weightedSum<M = unknown>(parts: Readonly<Record<string, readonly [RewardFunction<M>, number]>>): WeightedSum<M> {
  const names = Object.keys(parts);
  if (names.length === 0) throw new Error('weightedSum: parts got {}, expected at least one { name: [reward, weight] }.');
  const bad = names.filter((name) => typeof parts[name]?.[0] !== 'function' || !Number.isFinite(parts[name][1]));
  if (bad.length)
    throw new Error(`weightedSum: ${bad.map((name) => `'${name}' got ${describe(parts[name])}`).join(', ')}, expected [a function, a finite weight].`);
  const terms = Object.fromEntries(names.map((name) => [name, scaled(...parts[name]!)]));
  const total: RewardFunction<M> = (...args) =>
    tidy(() => Object.values(terms).map((term) => term(...args)).reduce((sum, term) => add(sum, term)));
  return Object.assign(total, { terms });
}

const describe = (part?: readonly unknown[]) => `[${part?.map((value) => (typeof value === 'function' ? 'a function' : String(value))).join(', ')}]`;

/**
 * A reward times a constant.
 * @throws if the factor is not finite
 */
export function scaled<M = unknown>(reward: RewardFunction<M>, factor: number): RewardFunction<M> {
  if (!Number.isFinite(factor)) throw new Error(`scaled: factor got ${factor}, expected a finite number.`);
  return (images: Tensor4D, prompts, metadata) => tidy((): Tensor1D => mul(reward(images, prompts, metadata), factor));
}

/** The opposite of a reward. */
export function negated<M = unknown>(reward: RewardFunction<M>): RewardFunction<M> {
  return scaled(reward, -1);
}
