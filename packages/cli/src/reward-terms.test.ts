import { dispose, tensor4d } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { UsageError } from './errors.js';
import { rewardFunction } from './reward-terms.js';

describe('rewardFunction', () => {
  beforeAll(() => useBackend('cpu'));

  it('adds up what it is given, by weight', () =>
    expectNoLeaks(async () => {
      const images = tensor4d(Float32Array.from({ length: 16 * 16 * 3 }, (_, i) => ((i * 7) % 11) / 11), [1, 16, 16, 3]);
      const judge = async (...terms: string[]) => {
        const rewards = rewardFunction(terms)(images, ['x'], [undefined]);
        const [value] = await rewards.data();
        rewards.dispose();
        return value!;
      };
      const size = await judge('jpeg-incompressibility');
      expect(size).toBeGreaterThan(0);
      expect(await judge('jpeg-compressibility')).toBeCloseTo(-size, 6);
      expect(await judge('jpeg-compressibility:0.5', 'jpeg-incompressibility:2')).toBeCloseTo(1.5 * size, 5);
      dispose(images);
    }));

  it.each([
    [['aesthetic'], /--reward: got 'aesthetic', expected one of jpeg-compressibility, jpeg-incompressibility/],
    [['toString'], /got 'toString'/],
    [['jpeg-compressibility:much'], /weight of 'jpeg-compressibility' got 'much'/],
    [['jpeg-compressibility:'], /got ''/],
    [['jpeg-compressibility', 'jpeg-compressibility:2'], /given twice/],
  ])('refuses %j', (terms, message) => {
    expect(() => rewardFunction(terms)).toThrow(message);
    expect(() => rewardFunction(terms)).toThrow(UsageError);
  });
});
