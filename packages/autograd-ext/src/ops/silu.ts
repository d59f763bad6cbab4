import { add, mul, sigmoid, sub, type Tensor } from '@tensorflow/tfjs-core';
import { defineOp } from '../define-op.js';

/** `x · sigmoid(x)`, also known as swish. */
export const silu = (x: Tensor): Tensor => siluOp({ x }, {});

const siluOp = defineOp<object>({
  name: 'Silu',
  forward: ({ x }) => mul(x!, sigmoid(x!)),
  inputsToSave: ['x'],
  gradient: (dy, [x]) => ({ x: () => siluGrad({ x: x!, dy }, {}) }),
});

const siluGrad = defineOp<object>({
  name: 'SiluGrad',
  forward: ({ x, dy }) => {
    const s = sigmoid(x!);
    return mul(dy!, mul(s, add(1, mul(x!, sub(1, s)))));
  },
});
