import { add, erf, exp, mul, type Tensor } from '@tensorflow/tfjs-core';
import { defineOp } from '../define-op.js';
import { geluGradKernel, geluKernel } from '../kernels/fused/gelu.js';
import { registerHostKernel } from '../kernels/registry/host-kernel.js';

/** `x · Φ(x)`, exact: Φ is the normal distribution function by erf, not its tanh approximation. */
export const gelu = (x: Tensor): Tensor => geluOp({ x }, {});

registerHostKernel(geluKernel);
registerHostKernel(geluGradKernel);

const geluOp = defineOp<object>({
  name: 'Gelu',
  forward: ({ x }) => mul(x!, normal(x!)),
  inputsToSave: ['x'],
  gradient: (dy, [x]) => ({ x: () => geluGrad({ x: x!, dy }, {}) }),
});

/** `dy · gelu'(x)`. */
export const geluGrad = defineOp<object>({
  name: 'GeluGrad',
  forward: ({ x, dy }) => mul(dy!, add(normal(x!), mul(x!, density(x!)))),
});

const normal = (x: Tensor) => mul(0.5, add(1, erf(mul(x, Math.SQRT1_2))));
const density = (x: Tensor) => mul(1 / Math.sqrt(2 * Math.PI), exp(mul(-0.5, mul(x, x))));
