import {
  add,
  argMax,
  backend_util,
  cast,
  equal,
  max,
  mul,
  pad,
  reshape,
  scalar,
  slice,
  stack,
  stridedSlice,
  sum,
  addN,
  type Tensor,
  type Tensor3D,
} from '@tensorflow/tfjs-core';
import { spreadAlong } from '../../../kernels/gradients/spread-along.js';
import { registerDecomposition } from '../recorder/recorder.js';

interface DilationAttrs {
  readonly strides: number | [number, number];
  readonly pad: 'same' | 'valid';
  readonly dilations: number | [number, number];
}

// Greyscale dilation: the maximum of pixel + filter over each window.
registerDecomposition<DilationAttrs>('Dilation2D', ({ x, filter }, attrs) => max(sums(x!, filter!, attrs), 0));

// The gradient of a window belongs to the position of its maximum.
registerDecomposition<DilationAttrs>('Dilation2DBackpropInput', ({ x, filter, dy }, attrs) => {
  const windows = windowsOf(x!, filter!, attrs);
  const [, height, width] = x!.shape as [number, number, number, number];
  const parts = gradientsByPosition(x!, filter!, dy!, attrs).map((part, i) => {
    const [row, column] = windows.starts[i]!;
    return spreadAlong(
      spreadAlong(part, 1, row, windows.strides[0], windows.padded[0]),
      2,
      column,
      windows.strides[1],
      windows.padded[1],
    );
  });
  return slice(addN(parts), [0, windows.before[0], windows.before[1], 0], [-1, height, width, -1]);
});
registerDecomposition<DilationAttrs>('Dilation2DBackpropFilter', ({ x, filter, dy }, attrs) =>
  reshape(stack(gradientsByPosition(x!, filter!, dy!, attrs).map((part) => sum(part, [0, 1, 2]))), filter!.shape),
);

/** For each position in the filter: dy of the windows that have their maximum there, else 0. */
function gradientsByPosition(x: Tensor, filter: Tensor, dy: Tensor, attrs: DilationAttrs): Tensor[] {
  const first = argMax(sums(x, filter, attrs), 0);
  const count = filter.shape[0]! * filter.shape[1]!;
  return Array.from({ length: count }, (_, i) => mul(dy, cast(equal(first, scalar(i, 'int32')), 'float32')));
}

/** The sums of pixels and filter, `[positions in the filter, B, H', W', C]`. */
function sums(x: Tensor, filter: Tensor, attrs: DilationAttrs): Tensor {
  const { before, after, starts, strides, counts } = windowsOf(x, filter, attrs);
  const bordered = pad(
    x,
    [
      [0, 0],
      [before[0], after[0]],
      [before[1], after[1]],
      [0, 0],
    ],
    outside,
  );
  const rows = reshape(filter, [starts.length, 1, 1, 1, -1]);
  const shifted = starts.map(([row, column]) =>
    stridedSlice(
      bordered,
      [0, row, column, 0],
      [x.shape[0]!, row + (counts[0] - 1) * strides[0] + 1, column + (counts[1] - 1) * strides[1] + 1, x.shape[3]!],
      [1, strides[0], strides[1], 1],
    ),
  );
  return add(stack(shifted), rows);
}

/** The padding value: never the maximum of a window. */
const outside = -1e30;

function windowsOf(x: Tensor, filter: Tensor, { strides, pad: padding, dilations }: DilationAttrs) {
  const info = backend_util.computeDilation2DInfo(
    x.shape as never,
    filter.shape as Tensor3D['shape'],
    strides,
    padding,
    'NHWC',
    dilations,
  );
  const { top, bottom, left, right } = info.padInfo;
  const starts = Array.from(
    { length: info.filterHeight * info.filterWidth },
    (_, i) =>
      [Math.floor(i / info.filterWidth) * info.dilationHeight, (i % info.filterWidth) * info.dilationWidth] as const,
  );
  return {
    starts,
    strides: [info.strideHeight, info.strideWidth] as const,
    counts: [info.outHeight, info.outWidth] as const,
    before: [top, left] as const,
    after: [bottom, right] as const,
    padded: [info.inHeight + top + bottom, info.inWidth + left + right] as const,
  };
}
