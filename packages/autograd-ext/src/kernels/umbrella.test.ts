import { avgPool, getGradient, maxPool, neg, randomNormal, square, type Tensor4D } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../backend.js';
import { checkGradient } from '../testing/index.js';

// Importing the umbrella package registers tfjs-core's own gradients again, in place of the corrected ones.
describe.each(['wasm', 'cpu'] as const)('after @tensorflow/tfjs was imported, on %s', (backend) => {
  beforeAll(async () => {
    await useBackend(backend);
    await import('@tensorflow/tfjs');
  });

  it('max and average pooling keep their corrected gradients', () => {
    const x = randomNormal([2, 5, 4, 2], 0, 1, 'float32', 3) as Tensor4D;
    checkGradient((y) => maxPool(neg(square(y)) as Tensor4D, 3, 2, 'same'), [x], { step: 2e-3, tolerance: 1e-2 });
    checkGradient((y) => avgPool(y as Tensor4D, 3, 2, 'same'), [x]);
  });
});

it('useBackend restores the corrections once', async () => {
  const corrected = getGradient('MaxPool');
  await useBackend('cpu');
  expect(getGradient('MaxPool')).toBe(corrected);
});
