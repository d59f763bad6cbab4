import { add, mul, sigmoid, sub, type Tensor } from '@tensorflow/tfjs-core';
import { defineOp } from '../define-op.js';

const slope = 1.702;

/** `x · sigmoid(1.702 x)`, the approximation of gelu in OpenAI's CLIP. */
export const quickGelu = (x: Tensor): Tensor => quickGeluOp({ x }, {});

const quickGeluOp = defineOp<object>({
  name: 'QuickGelu',
  forward: ({ x }) => mul(x!, sigmoid(mul(x!, slope))),
  inputsToSave: ['x'],
  gradient: (dy, [x]) => ({ x: () => quickGeluGrad({ x: x!, dy }, {}) }),
});

const quickGeluGrad = defineOp<object>({
  name: 'QuickGeluGrad',
  forward: ({ x, dy }) => {
    const scaled = mul(x!, slope);
    const s = sigmoid(scaled);
    return mul(dy!, mul(s, add(1, mul(scaled, sub(1, s)))));
  },
});
