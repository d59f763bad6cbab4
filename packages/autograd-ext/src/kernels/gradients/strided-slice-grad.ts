import { registerGradient, reshape, reverse, type Tensor } from '@tensorflow/tfjs-core';
import { resolveSlice, type StridedSliceAttrs } from '../geometry/strided-slice.js';
import { spreadAlong } from './spread-along.js';

/** Adds the gradient of tf.stridedSlice, which tfjs lacks: writes dy back to the elements that were read. */
export const addStridedSliceGradient = () =>
  registerGradient({
    kernelName: 'StridedSlice',
    inputsToSave: ['x'],
    gradFunc: (dy, [x], attrs) => ({
      x: () => gradient(dy as Tensor, x!.shape, attrs as unknown as StridedSliceAttrs),
    }),
  });

function gradient(dy: Tensor, shape: number[], attrs: StridedSliceAttrs): Tensor {
  const { begin, strides, counts } = resolveSlice(shape, attrs);
  return shape.reduce(
    (dx, size, axis) => {
      const [first, stride, count] = [begin[axis]!, strides[axis]!, counts[axis]!];
      if (stride > 0) return spreadAlong(dx, axis, first, stride, size);
      return spreadAlong(reverse(dx, axis), axis, first + (count - 1) * stride, -stride, size);
    },
    reshape(dy, counts),
  );
}
