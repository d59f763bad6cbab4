import { tensor1d, tensor2d, tidy } from '@tensorflow/tfjs-core';
import { gradients, useBackend } from '@alignprop/autograd-ext';
import { checkGradient } from '@alignprop/autograd-ext/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { testBackends } from '../../../../fixtures/engines.js';
import { quantile } from './quantile.js';

describe.each(testBackends)('quantile on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  const rows = () =>
    tensor2d([
      [3, 1, 2, 5, 4],
      [10, 50, 20, 40, 30],
    ]);

  it.each([
    [0, [1, 10]],
    [0.5, [3, 30]],
    [0.9, [4.6, 46]],
    [1, [5, 50]],
  ])('interpolates linearly at ratio %d', (ratio, expected) => {
    tidy(() =>
      quantile(rows(), ratio)
        .dataSync()
        .forEach((value, i) => expect(value).toBeCloseTo(expected[i]!, 5)),
    );
  });

  it('passes the gradient to the two neighbours in proportion to their weights', () => {
    tidy(() => {
      const x = rows();
      const { grads } = gradients(() => quantile(x, 0.9), [x], tensor1d([1, 2]));
      const expected = [0, 0, 0, 0.6, 0.4, 0, 1.2, 0, 0.8, 0];
      [...grads[0]!.dataSync()].forEach((value, i) => expect(value).toBeCloseTo(expected[i]!, 5));
      checkGradient((y) => quantile(y as never, 0.9), [rows()]);
    });
  });
});
