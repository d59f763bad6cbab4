import { useBackend } from '@alignprop/autograd-ext';
import { add, mean, randomUniform, square, type Tensor, type Tensor1D, type Tensor4D } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { negated, scaled, weightedSum } from './combinators.js';
import type { RewardFunction } from './reward.js';
import { testReward } from './testing/test-reward.js';

const brightness: RewardFunction = (images) => mean(images, [1, 2, 3]) as Tensor1D;
const energy: RewardFunction = (images) => mean(square(images), [1, 2, 3]) as Tensor1D;

describe('combinators', () => {
  beforeAll(() => useBackend('wasm'));

  it.each([
    ['scaled', scaled(brightness, -2.5)],
    ['negated', negated(energy)],
    ['weightedSum', weightedSum({ brightness: [brightness, 3], energy: [energy, -0.5] })],
    ['nested', weightedSum({ all: [weightedSum({ energy: [energy, 2] }), 0.25] })],
  ])('%s keeps the promises of a reward', (_, reward) => testReward(reward));

  it.each([
    ['scores got shape [], expected [3] for 3 images', (images: Tensor4D) => mean(images) as Tensor as Tensor1D],
    ['in a batch, expected', (images: Tensor4D) => add(brightness(images, [], []), images.shape[0]) as Tensor1D],
  ])('testReward finds broken promises: %s', async (message, reward) => {
    await expect(testReward(reward)).rejects.toThrow(message);
  });

  it('sum their terms, which can be had one by one', () => {
    const reward = weightedSum({ brightness: [brightness, 3], energy: [energy, -0.5] });
    const images = randomUniform([2, 4, 4, 3], 0, 1, 'float32', 1) as Tensor4D;
    const value = (r: RewardFunction) => [...r(images, ['', ''], [{}, {}]).dataSync()];
    expect(Object.keys(reward.terms)).toEqual(['brightness', 'energy']);
    const [b, e] = [value(brightness), value(energy)];
    value(reward.terms.brightness!).forEach((term, i) => expect(term).toBeCloseTo(3 * b[i]!, 5));
    value(reward).forEach((total, i) => expect(total).toBeCloseTo(3 * b[i]! - 0.5 * e[i]!, 5));
  });

  it('hand prompts and metadata on', () => {
    const seen: unknown[] = [];
    const spy: RewardFunction<{ id: number }> = (images, prompts, metadata) => (seen.push(prompts, metadata), mean(images, [1, 2, 3]) as Tensor1D);
    weightedSum({ spy: [negated(spy), 1] })(randomUniform([1, 4, 4, 3]), ['a crab'], [{ id: 7 }]);
    expect(seen).toEqual([['a crab'], [{ id: 7 }]]);
  });

  it('check weights', () => {
    expect(() => scaled(brightness, NaN)).toThrow('scaled: factor got NaN, expected a finite number.');
    expect(() => weightedSum({})).toThrow('weightedSum: parts got {}, expected at least one');
    expect(() => weightedSum({ a: [brightness, Infinity], b: [energy, 1], c: [undefined as never, 2] })).toThrow(
      "weightedSum: 'a' got [a function, Infinity], 'c' got [undefined, 2], expected [a function, a finite weight].",
    );
  });
});
