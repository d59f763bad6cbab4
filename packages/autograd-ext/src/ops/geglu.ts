import { concat, mul, reshape, split, type Tensor } from '@tensorflow/tfjs-core';
import { defineOp } from '../define-op.js';
import { gegluGradKernel, gegluKernel } from '../kernels/fused/geglu.js';
import { registerHostKernel } from '../kernels/registry/host-kernel.js';
import { gelu, geluGrad } from './gelu.js';

/**
 * The gated linear unit of a transformer's feed-forward layer (Shazeer 2020, "GLU Variants Improve Transformer",
 * eq. 5): the first half of the channels times gelu of the second half.
 * @param x `[..., 2C]`
 * @returns `[..., C]`
 * @throws if the number of channels is odd
 */
export function geglu(x: Tensor): Tensor {
  const channels = x.shape.at(-1)!;
  if (channels % 2) throw new Error(`geglu: x got shape [${x.shape}], expected an even number of channels.`);
  return reshape(gegluOp({ x: reshape(x, [-1, channels]) }, {}), [...x.shape.slice(0, -1), channels / 2]);
}

registerHostKernel(gegluKernel);
registerHostKernel(gegluGradKernel);

const gegluOp = defineOp<object>({
  name: 'Geglu',
  forward: ({ x }) => {
    const [value, gate] = split(x!, 2, 1) as [Tensor, Tensor];
    return mul(value, gelu(gate));
  },
  inputsToSave: ['x'],
  gradient: (dy, [x]) => ({ x: () => gegluGrad({ x: x!, dy }, {}) }),
});

const gegluGrad = defineOp<object>({
  name: 'GegluGrad',
  forward: ({ x, dy }) => {
    const [value, gate] = split(x!, 2, 1) as [Tensor, Tensor];
    return concat([mul(dy!, gelu(gate)), geluGrad({ x: gate, dy: mul(dy!, value) }, {})], 1);
  },
});
