import { add, fill, mean, mul, tensor1d, type Tensor4D } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { OnnxRuntimeEngine, TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { weightedSum } from './combinators/weighted-sum.js';
import { defineReward, type BlackBoxReward, type RewardFunction } from './reward.js';
import { RewardScorer, scoredSum } from './reward-scorer.js';

beforeAll(() => useBackend('cpu'));

const images = (): Tensor4D => fill([2, 2, 2, 3], 0.5);
const score = async (reward: BlackBoxReward | RewardFunction) => {
  const batch = images();
  return new RewardScorer(reward).score(batch, ['a', 'crab'], [{}, {}]).finally(() => batch.dispose());
};
const brightness: RewardFunction = (x) => mean(x, [1, 2, 3]);
const lengths: BlackBoxReward = async (x, prompts) => (await x.data(), prompts.map(({ length }) => length));

describe('RewardScorer', () => {
  it.each<[string, BlackBoxReward | RewardFunction, number[]]>([
    ['a function with intermediate tensors', (x) => mul(add(brightness(x, [], []), 1), 2), [3, 3]],
    ['one that returns numbers', (x) => [...brightness(x, [], []).dataSync()], [0.5, 0.5]],
    ['one that returns a pair', (x) => [mul(brightness(x, [], []), 2), {}], [1, 1]],
    ['an async function', lengths, [1, 4]],
    ['an async function that returns a tensor', async (x) => (await x.data(), tensor1d([1, 2])), [1, 2]],
    ['a sum', weightedSum({ a: [brightness, 2], b: [brightness, 1] }), [1.5, 1.5]],
  ])('scores by %s without a leak', (_, reward, expected) =>
    expectNoLeaks(async () => {
      expect((await score(reward)).scores).toEqual(expected);
    }),
  );

  it('sums rewards of all kinds, with weights and caps, and reports those of weight 0 by their scores', () =>
    expectNoLeaks(async () => {
      const { scores, terms } = await score(
        scoredSum({
          long: { reward: lengths, weight: 0.5, cap: 3 },
          bright: { reward: weightedSum({ a: [brightness, 2] }), weight: -1 },
          logged: { reward: lengths, weight: 0 },
        }),
      );
      expect(scores).toEqual([0.5 - 1, 1.5 - 1]);
      expect(Object.fromEntries(Object.entries(terms).map(([name, values]) => [name, [...values]]))).toEqual({
        long: [0.5, 1.5],
        bright: [-1, -1],
        logged: [1, 4],
        'bright.a': [1, 1],
      });
    }));

  it.each<[string, BlackBoxReward, RegExp]>([
    [
      'throws',
      () => {
        throw new TypeError('no such key');
      },
      /^rewardFunction: TypeError: no such key$/,
    ],
    ['rejects', () => Promise.reject(new Error('offline')), /^rewardFunction: offline$/],
    ['resolves to nothing', async () => undefined as never, /^rewardFunction: returned nothing \(undefined\)/],
  ])('names the reward that %s', async (_, reward, message) => {
    await expect(score(reward)).rejects.toThrow(message);
  });

  it.each([
    ['tfjs', () => new TfjsEngine()],
    ['ONNX Runtime', () => new OnnxRuntimeEngine()],
  ] as const)('uses the current value of a variable that a reward with a model reads, on %s', async (_, engineOf) => {
    let weight = 1;
    const engine = engineOf();
    const reward = defineReward({ params: {}, score: (_params, x) => mul(brightness(x as Tensor4D, [], []), weight) });
    const scorer = new RewardScorer(reward, engine);
    const batch = images();
    const scores: number[] = [];
    for (; weight <= 3; weight++) scores.push((await scorer.score(batch, ['', ''], [{}, {}])).scores[0]!);
    expect(scores).toEqual([0.5, 1, 1.5]);
    batch.dispose();
    engine.dispose();
  });
});
