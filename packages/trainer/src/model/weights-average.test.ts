import { dispose, tensor, tidy, variable } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { WeightsAverage } from './weights-average.js';

describe('WeightsAverage', () => {
  beforeAll(() => useBackend('cpu'));

  it('ramps the decay up from 0 to its maximum', () =>
    expectNoLeaks(() => {
      const weight = tidy(() => variable(tensor([100])));
      const average = new WeightsAverage({ weight }, 0.2);
      const seen = [1, 2, 3, 4].map((value, i) => {
        const next = tensor([value]);
        weight.assign(next);
        next.dispose();
        average.update(i + 1);
        return average.values.weight!.dataSync()[0]!;
      });
      // diffusers' EMAModel: decays 0, 2/11, 3/12 → 0.2, 0.2
      const second = (2 / 11) * 1 + (9 / 11) * 2;
      const third = 0.2 * second + 0.8 * 3;
      [1, second, third, 0.2 * third + 0.8 * 4].forEach((value, i) => expect(seen[i]).toBeCloseTo(value, 5));
      average.dispose();
      dispose(weight);
    }));

  it('restores the variables after during(), also when the function throws', () =>
    expectNoLeaks(async () => {
      const weight = tidy(() => variable(tensor([1, 2])));
      const average = new WeightsAverage({ weight }, 0.9);
      const moved = tensor([5, 6]);
      weight.assign(moved);
      expect(await average.during(async () => [...weight.dataSync()])).toEqual([1, 2]);
      await expect(average.during(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
      expect([...weight.dataSync()]).toEqual([5, 6]);
      average.load();
      expect([...average.values.weight!.dataSync()]).toEqual([5, 6]);
      dispose([weight, moved]);
      average.dispose();
    }));
});
