import { registerGradient, reshape, reverse, slice_util, type Tensor } from '@tensorflow/tfjs-core';
import { spreadAlong } from './spread-along.js';

interface StridedSliceAttrs {
  readonly begin: number[];
  readonly end: number[];
  readonly strides: number[];
  readonly beginMask: number;
  readonly endMask: number;
  readonly ellipsisMask: number;
  readonly newAxisMask: number;
  readonly shrinkAxisMask: number;
}

/** The gradient of tf.stridedSlice, which tfjs lacks: what was read goes back to its place. */
export const addStridedSliceGradient = () =>
  registerGradient({
    kernelName: 'StridedSlice',
    inputsToSave: ['x'],
    gradFunc: (dy, [x], attrs) => ({ x: () => gradient(dy as Tensor, x!.shape, attrs as unknown as StridedSliceAttrs) }),
  });

function gradient(dy: Tensor, shape: number[], a: StridedSliceAttrs): Tensor {
  const { begin, end, strides } = slice_util.sliceInfo(shape, a.begin, a.end, a.strides, a.beginMask, a.endMask, a.ellipsisMask, a.newAxisMask, a.shrinkAxisMask);
  const counts = slice_util.computeOutShape(begin, end, strides);
  return shape.reduce((dx, size, axis) => {
    const [first, stride, count] = [begin[axis]!, strides[axis]!, counts[axis]!];
    if (stride > 0) return spreadAlong(dx, axis, first, stride, size);
    return spreadAlong(reverse(dx, axis), axis, first + (count - 1) * stride, -stride, size);
  }, reshape(dy, counts));
}
