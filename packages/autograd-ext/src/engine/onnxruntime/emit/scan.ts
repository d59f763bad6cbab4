import { concat, mul, ones, reverse, slice, type Tensor } from '@tensorflow/tfjs-core';
import { constant, node } from '../graph/graph.js';
import { registerDecomposition, registerKernelEmitter } from '../recorder/recorder.js';
import { viewOf } from '../recorder/view.js';
import { nonNegativeAxis, numbers } from './builders.js';

// Cumulative sums and products along an axis.

interface ScanAttrs {
  readonly axis?: number;
  readonly exclusive?: boolean;
  readonly reverse?: boolean;
}

registerKernelEmitter<ScanAttrs>('Cumsum', ({ x }, { axis = 0, exclusive = false, reverse: backwards = false }) => {
  const view = numbers(x!);
  const position = view.order.indexOf(nonNegativeAxis(axis, view.shape.length));
  const attributes = { exclusive: { int: Number(exclusive) }, reverse: { int: Number(backwards) } };
  return viewOf(
    node('CumSum', [view.value, constant(Int32Array.of(position), [], 'int32')], view.value.shape, { attributes }),
    view.order,
  );
});

// Doubles the length of the products in each step: after steps 1, 2, 4 … each element is the product of the 2, 4, 8 …
// elements up to it.
registerDecomposition<ScanAttrs>('Cumprod', ({ x }, { axis = 0, exclusive = false, reverse: backwards = false }) => {
  const at = nonNegativeAxis(axis, x!.rank);
  const ordered = backwards ? reverse(x!, at) : x!;
  let products = exclusive ? shifted(ordered, at, 1) : ordered;
  for (let step = 1; step < x!.shape[at]!; step *= 2) products = mul(products, shifted(products, at, step));
  return backwards ? reverse(products, at) : products;
});

/** Shifts the elements by `count` positions towards the end of the axis and fills up with ones. */
function shifted(x: Tensor, axis: number, count: number): Tensor {
  const sizes = (size: number) => x.shape.map((n, i) => (i === axis ? size : n));
  return concat(
    [
      ones(sizes(count), x.dtype),
      slice(
        x,
        x.shape.map(() => 0),
        sizes(x.shape[axis]! - count),
      ),
    ],
    axis,
  );
}
