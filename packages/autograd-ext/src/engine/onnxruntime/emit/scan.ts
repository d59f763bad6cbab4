import { concat, mul, ones, reverse, slice, type Tensor } from '@tensorflow/tfjs-core';
import { constant, node } from '../graph/graph.js';
import { registerDecomposition, registerKernelEmitter } from '../recorder/recorder.js';
import { viewOf } from '../recorder/view.js';
import { numbers } from './elementwise.js';

interface ScanAttrs {
  readonly axis?: number;
  readonly exclusive?: boolean;
  readonly reverse?: boolean;
}

registerKernelEmitter<ScanAttrs>('Cumsum', ({ x }, { axis = 0, exclusive = false, reverse: backwards = false }) => {
  const view = numbers(x!);
  const position = view.order.indexOf(axis < 0 ? axis + view.shape.length : axis);
  const attributes = { exclusive: { int: Number(exclusive) }, reverse: { int: Number(backwards) } };
  return viewOf(
    node('CumSum', [view.value, constant(Int32Array.of(position), [], 'int32')], view.value.shape, { attributes }),
    view.order,
  );
});

// In steps of 1, 2, 4 …: each element times the product of as many before it.
registerDecomposition<ScanAttrs>('Cumprod', ({ x }, { axis = 0, exclusive = false, reverse: backwards = false }) => {
  const at = axis < 0 ? axis + x!.rank : axis;
  const turned = backwards ? reverse(x!, at) : x!;
  let products = exclusive ? shifted(turned, at, 1) : turned;
  for (let step = 1; step < x!.shape[at]!; step *= 2) products = mul(products, shifted(products, at, step));
  return backwards ? reverse(products, at) : products;
});

/** Elements move on by `count` places of the axis; ones come in. */
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
