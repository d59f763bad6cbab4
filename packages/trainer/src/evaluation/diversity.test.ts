import { tensor } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { pixelDiversity } from './diversity.js';

describe('pixelDiversity', () => {
  beforeAll(() => useBackend('cpu'));

  it('averages the distances between all pairs of images of the same prompt', () =>
    expectNoLeaks(async () => {
      const images = tensor(
        [0, 0, 1, 1, 0, 1, /* second prompt */ 0.5, 0.5, 0.5, 0.5, 0.5, 0.5],
        [6, 1, 2, 1],
      ) as never;
      const distances = [1, Math.sqrt(0.5), Math.sqrt(0.5), 0, 0, 0];
      expect(await pixelDiversity(images, 3)).toBeCloseTo(distances.reduce((a, b) => a + b) / 6, 6);
      await expect(pixelDiversity(images, 1)).rejects.toThrow('perPrompt got 1 for 6 images');
      await expect(pixelDiversity(images, 4)).rejects.toThrow('expected a divisor');
      return images;
    }));
});
