import {
  backend_util,
  engine,
  reshape,
  tidy,
  transpose,
  util,
  type Tensor,
  type TensorInfo,
} from '@tensorflow/tfjs-core';
import { wrapKernel } from '../../registry/wrap-kernel.js';

interface ReductionAttrs {
  readonly axis?: number | number[] | null;
  /** The axes of Max. */
  readonly reductionIndices?: number | number[] | null;
  readonly keepDims: boolean;
}

/**
 * Moves the axes that integers and booleans are reduced over to the end on WebGPU, since tfjs does that with its shader
 * for float32, and keeps the axes of tf.prod where they have to be kept.
 */
export function reduceOnWebGPU(): void {
  for (const name of ['Max', 'Min', 'Sum', 'All', 'Any', 'Prod'])
    wrapKernel(name, 'webgpu', (call, original) => {
      const x = call.inputs['x'] as Tensor;
      const { axis, reductionIndices, keepDims } = call.attrs as unknown as ReductionAttrs;
      const axes = util.parseAxisParam(axis ?? reductionIndices ?? x.shape.map((_, i) => i), x.shape);
      const moved = x.dtype === 'float32' ? undefined : backend_util.getAxesPermutation(axes, x.rank);
      const shape = keepDims ? x.shape.map((size, i) => (axes.includes(i) ? 1 : size)) : undefined;
      if (!moved) {
        const reduced = original(call) as TensorInfo;
        return { ...reduced, shape: shape ?? reduced.shape };
      }
      const last = backend_util.getInnerMostAxes(axes.length, x.rank);
      const attrs = { axis: last, reductionIndices: last, keepDims: false };
      return tidy(() => {
        const reduced = engine().runKernel(name, { x: transpose(x, moved) }, attrs) as Tensor;
        return shape ? reshape(reduced, shape) : reduced;
      });
    });
}
