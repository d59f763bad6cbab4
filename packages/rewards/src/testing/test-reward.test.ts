import { useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import {
  add,
  clone,
  customGrad,
  dispose,
  log,
  mean,
  mul,
  scalar,
  sqrt,
  square,
  sub,
  tidy,
  type Tensor,
  type Tensor1D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { defineReward, type RewardFunction } from '../reward.js';
import { testReward, type TestRewardOptions } from './test-reward.js';

const brightness = (images: Tensor4D): Tensor1D => mean(images, [1, 2, 3]);
const tenthMore = customGrad((x) => ({ value: clone(x as Tensor), gradFunc: (dy: Tensor) => mul(dy, 1.1) }));

const violations: [message: string, reward: RewardFunction, options?: TestRewardOptions][] = [
  ['returned a tensor of shape [], expected a tensor [3]', (images) => mean(images) as Tensor as Tensor1D],
  [
    'scores got shape [], expected [3] for 3 images',
    defineReward({ params: {}, score: (_, images) => mean(images!) as Tensor as Tensor1D }),
  ],
  ['image 0 of 16×16 got', (images) => add(brightness(images), images.shape[0])],
  ['the score of a 16×16 image got NaN', (images) => log(sub(brightness(images), 2))],
  [
    'the score of a 1×1 image got NaN',
    (images) => (images.shape[1] > 1 ? brightness(images) : log(sub(brightness(images), 2))),
  ],
  ['expected it in [0.8, 1]', brightness, { range: [0.8, 1] }],
  ['the gradient of an image of 0s got', (images) => brightness(sqrt(square(images)))],
  ['checkGradient: input 0', (images) => brightness(tenthMore(images) as Tensor4D)],
  [
    'there are 0 outputs after the scores, expected 1, one a term',
    defineReward({ params: {}, score: (_, images) => brightness(images as Tensor4D), terms: ['a'] }),
  ],
  [
    "term 'a' got shape [], expected [3]",
    defineReward({ params: {}, score: (_, images) => [brightness(images as Tensor4D), mean(images!)], terms: ['a'] }),
  ],
  ['expectNoLeaks', (images) => add(brightness(images), sub(1, 1))],
];

describe.each(['wasm', 'cpu'] as const)('testReward on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('accepts a correct reward, and leaks nothing', () =>
    expectNoLeaks(() => testReward((images) => tidy(() => brightness(images)), { range: [0, 1] })));

  it.each(violations)('reports the violation: %s', async (message, reward, options) => {
    await expect(testReward(reward, options)).rejects.toThrow(message);
  });

  it('reports a reward that disposes its images or leaks tensors', async () => {
    const greedy: RewardFunction = (images) => {
      const scores = brightness(images);
      dispose(images);
      return scores;
    };
    await expect(testReward(greedy)).rejects.toThrow();
    await expect(testReward((images) => [brightness(images), clone(images), scalar(0)][0] as Tensor1D)).rejects.toThrow(
      'expectNoLeaks',
    );
  });
});
