import { slice_util } from '@tensorflow/tfjs-core';

/** The attributes of tfjs's StridedSlice kernel. Bit i of a mask refers to axis i. */
export interface StridedSliceAttrs {
  readonly begin: number[];
  readonly end: number[];
  readonly strides: number[];
  readonly beginMask: number;
  readonly endMask: number;
  readonly ellipsisMask: number;
  readonly newAxisMask: number;
  readonly shrinkAxisMask: number;
}

/**
 * Resolves the masks of a strided slice.
 * @param shape of the sliced tensor
 * @returns `begin`, `end`, `strides` and `counts` (the number of elements read) for each axis of `shape`, and
 *   `finalShape`, the shape of the result with its new and dropped axes
 */
export function resolveSlice(shape: number[], attrs: StridedSliceAttrs) {
  const { begin, end, strides, finalShape } = slice_util.sliceInfo(
    shape,
    attrs.begin,
    attrs.end,
    attrs.strides,
    attrs.beginMask,
    attrs.endMask,
    attrs.ellipsisMask,
    attrs.newAxisMask,
    attrs.shrinkAxisMask,
  );
  return { begin, end, strides, finalShape, counts: slice_util.computeOutShape(begin, end, strides) };
}
