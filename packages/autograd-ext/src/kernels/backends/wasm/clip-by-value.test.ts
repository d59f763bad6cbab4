import { clipByValue, tensor } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { testBackends } from '../../../../../../fixtures/engines.js';
import { useBackend } from '../../../backend.js';

describe.each(testBackends)('clipByValue on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('keeps NaN and values inside the range', () => {
    expect([...clipByValue(tensor([-2, -1, 0.25, 3, NaN, Infinity, -Infinity]), -1, 2).dataSync()]).toEqual([
      -1,
      -1,
      0.25,
      2,
      NaN,
      2,
      -1,
    ]);
  });

  it('returns integers for integers', () => {
    const clipped = clipByValue(tensor([[-5], [1], [7]], [3, 1], 'int32'), 0, 4);
    expect([clipped.dtype, clipped.shape, [...clipped.dataSync()]]).toEqual(['int32', [3, 1], [0, 1, 4]]);
  });
});
