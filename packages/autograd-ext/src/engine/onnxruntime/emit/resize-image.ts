import {
  bilinearSources,
  nearestSources,
  type ResizeImageAttrs,
  type Sources,
} from '../../../kernels/geometry/resize-sources.js';
import { constant, node, type Value } from '../graph/graph.js';
import { registerKernelEmitter } from '../recorder/recorder.js';
import type { View } from '../recorder/view.js';
import { fromChannelsFirst, toChannelsFirst } from './channels.js';
import { floats } from './elementwise.js';

// tf.image.resizeBilinear and resizeNearestNeighbor: each axis is a product with a matrix of two weights, or one, a
// row.

type SourcesOf = (from: number, to: number, attrs: ResizeImageAttrs) => Sources[];

for (const [kernel, sources] of [
  ['ResizeBilinear', bilinearSources],
  ['ResizeNearestNeighbor', nearestSources],
] as const) {
  registerKernelEmitter<ResizeImageAttrs & { size: [number, number] }>(kernel, ({ images }, { size, ...attrs }) => {
    const [down, across] = matrices(sources, images!.shape.slice(1, 3), size, attrs);
    return resized(images!, down, flipped(across));
  });
  for (const suffix of ['Grad', 'InputGrad']) {
    registerKernelEmitter<ResizeImageAttrs>(`${kernel}${suffix}`, ({ dy, images }, attrs) => {
      const [down, across] = matrices(sources, images!.shape.slice(1, 3), dy!.shape.slice(1, 3), attrs);
      return resized(dy!, flipped(down), across);
    });
  }
}

interface Matrix {
  readonly values: Float32Array;
  readonly rows: number;
  readonly columns: number;
}

function matrices(
  sources: SourcesOf,
  from: readonly number[],
  to: readonly number[],
  attrs: ResizeImageAttrs,
): readonly [Matrix, Matrix] {
  const matrix = (axis: number): Matrix => {
    const [rows, columns] = [to[axis]!, from[axis]!];
    const values = new Float32Array(rows * columns);
    sources(columns, rows, attrs).forEach((row, i) =>
      row.forEach(([j, weight]) => (values[i * columns + j]! += weight)),
    );
    return { values, rows, columns };
  };
  return [matrix(0), matrix(1)];
}

const flipped = ({ values, rows, columns }: Matrix): Matrix => ({
  values: Float32Array.from(values, (_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!),
  rows: columns,
  columns: rows,
});

/** `left · x · right` of every plane. */
function resized(x: View, left: Matrix, right: Matrix): View {
  const value = toChannelsFirst(floats(x));
  const wide = product(value, asConstant(right));
  return fromChannelsFirst(product(asConstant(left), wide));
}

const asConstant = ({ values, rows, columns }: Matrix): Value => constant(values, [rows, columns]);

function product(a: Value, b: Value): Value {
  const batch = a.shape.length > b.shape.length ? a.shape.slice(0, -2) : b.shape.slice(0, -2);
  return node('MatMul', [a, b], [...batch, a.shape.at(-2)!, b.shape.at(-1)!]);
}
