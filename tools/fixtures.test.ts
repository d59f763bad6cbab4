import { describe, expect, it } from 'vitest';
import { largestDifference } from '../fixtures/tensors.js';

describe('largestDifference', () => {
  it('is NaN where one value is, wherever it stands', () => {
    for (const actual of [
      [NaN, 1, 1],
      [1, NaN, 1],
      [1, 1, NaN],
    ])
      expect(largestDifference(actual, [1, 1, 1]).worst).toBeNaN();
    expect(largestDifference([1, 4], [2, 2])).toEqual({ worst: 2, scale: 2 });
  });
});
