import { dispose, tensor } from '@tensorflow/tfjs-core';
import { useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { clipByGlobalNorm } from './clip-by-global-norm.js';
import { globalNorm } from './gradients.js';

describe.each(['wasm', 'cpu'] as const)('clipByGlobalNorm on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  // By hand: norm 5, scale max / (5 + 1e-6) but at most 1.
  it.each([
    ['far above', 1, 5],
    ['below, left as they are', 10, 5],
    ['where the 1e-6 counts', 2e-6, 5e-6],
  ])('%s', async (_, maxNorm, size) => {
    await expectNoLeaks(() => {
      const gradients = { a: tensor([[0.6 * size]]), b: tensor([0, 0.8 * size]) };
      const norm = globalNorm(gradients);
      expect(norm.dataSync()[0]! / size).toBeCloseTo(1, 6);
      const clipped = clipByGlobalNorm(gradients, norm, maxNorm);
      const scale = Math.min(1, maxNorm / (size + 1e-6));
      expect(clipped.a.dataSync()[0]! / (0.6 * size * scale)).toBeCloseTo(1, 6);
      expect(clipped.b.dataSync()[1]! / (0.8 * size * scale)).toBeCloseTo(1, 6);
      expect(Object.keys(clipped)).toEqual(['a', 'b']);
      dispose([gradients, norm, clipped]);
    });
  });
});
