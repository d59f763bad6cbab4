import { mul, scalar, tidy, type Tensor } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from './backend.js';
import { defineOp } from './define-op.js';
import { vjp } from './vjp.js';

const asked: string[] = [];
const product = defineOp<object>({
  name: 'TestProduct',
  forward: ({ x, weight }) => mul(x!, weight!),
  inputsToSave: ['x', 'weight'],
  gradient: (dy, [x, weight]) => ({
    x: () => (asked.push('x'), mul(dy, weight!)),
    weight: () => (asked.push('weight'), mul(dy, x!)),
  }),
});

describe.each(['wasm', 'cpu'] as const)('defineOp on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('never computes the gradient of what is frozen', () => {
    asked.length = 0;
    const weight = scalar(3);
    const dx = tidy(() => vjp((_, x) => product({ x: x!, weight }, {}), {}, [scalar(2)]).inputs[0]!.dataSync()[0]);
    expect(dx).toBe(3);
    expect(asked).toEqual(['x']);
  });

  it('computes the gradients of all inputs that are asked for', () => {
    asked.length = 0;
    const grads = tidy(() =>
      vjp((_, x, w) => product({ x: x!, weight: w! }, {}), {}, [scalar(2), scalar(3)]).inputs.map(
        (g: Tensor) => g.dataSync()[0],
      ),
    );
    expect(grads).toEqual([3, 2]);
    expect(asked).toEqual(['x', 'weight']);
  });
});
