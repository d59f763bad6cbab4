import { useBackend } from '@alignprop/autograd-ext';
import { checkGradient } from '@alignprop/autograd-ext/testing';
import { grad, tensor1d, type Tensor } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { testBackends } from '../../../../fixtures/engines.js';
import { rounded } from './rounding.js';

describe.each(testBackends)('rounded on %s', (backend) => {
  beforeAll(() => useBackend(backend));
  const values = () => tensor1d([-2.5, -1.3, -0.5, -0.2, 0, 0.4, 0.5, 1.5, 2.5, 7.9]);

  it('rounds halves to even and passes the gradient with ste', () => {
    expect([...rounded(values(), 'ste').dataSync()].map((v) => v + 0)).toEqual([-2, -1, 0, 0, 0, 0, 0, 2, 2, 8]);
    expect([...grad((c: Tensor) => rounded(c, 'ste'))(values()).dataSync()]).toEqual(Array(10).fill(1));
  });

  it('is smooth between half-integers with cubic', () => {
    const c = tensor1d([-2.3, -1.1, -0.4, 0.07, 0.3, 1.2, 4.9]);
    const expected = [-2 - 0.3 ** 3, -1 - 0.1 ** 3, -(0.4 ** 3), 0.07 ** 3, 0.3 ** 3, 1 + 0.2 ** 3, 5 - 0.1 ** 3];
    rounded(c, 'cubic')
      .dataSync()
      .forEach((value, i) => expect(value).toBeCloseTo(expected[i]!, 5));
    checkGradient((x) => rounded(x!, 'cubic'), [c]);
  });

  it('returns values unchanged with none', () => {
    const c = values();
    expect(rounded(c, 'none')).toBe(c);
  });
});
