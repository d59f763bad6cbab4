import { mul, scalar, tidy, type Tensor } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { testBackends } from '../../../fixtures/engines.js';
import { useBackend } from './backend.js';
import { defineOp } from './define-op.js';
import { vjp } from './vjp.js';

const evaluated: string[] = [];
const product = defineOp<object>({
  name: 'TestProduct',
  forward: ({ x, weight }) => mul(x!, weight!),
  inputsToSave: ['x', 'weight'],
  gradient: (dy, [x, weight]) => ({
    x: () => (evaluated.push('x'), mul(dy, weight!)),
    weight: () => (evaluated.push('weight'), mul(dy, x!)),
  }),
});

describe.each(testBackends)('defineOp on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('does not evaluate the gradient of a frozen input', () => {
    evaluated.length = 0;
    const weight = scalar(3);
    const dx = tidy(() => vjp((_, x) => product({ x: x!, weight }, {}), {}, [scalar(2)]).inputs[0]!.dataSync()[0]);
    expect(dx).toBe(3);
    expect(evaluated).toEqual(['x']);
  });

  it('evaluates the gradients of all differentiated inputs', () => {
    evaluated.length = 0;
    const grads = tidy(() =>
      vjp((_, x, w) => product({ x: x!, weight: w! }, {}), {}, [scalar(2), scalar(3)]).inputs.map(
        (g: Tensor) => g.dataSync()[0],
      ),
    );
    expect(grads).toEqual([3, 2]);
    expect(evaluated).toEqual(['x', 'weight']);
  });
});
