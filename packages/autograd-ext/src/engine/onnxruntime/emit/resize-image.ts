import {
  bilinearSources,
  nearestSources,
  type ResizeImageAttrs,
  type Sources,
} from '../../../kernels/geometry/resize-sources.js';
import { registerKernelEmitter } from '../recorder/recorder.js';
import type { View } from '../recorder/view.js';
import { fromChannelsFirst, toChannelsFirst } from './channels.js';
import { floats } from './builders.js';
import { multiplyPlanes, transposedMatrix, type Matrix } from './separable.js';

// tf.image.resizeBilinear and resizeNearestNeighbor as products with matrices, whose rows hold two weights, or one.

type SourcesOf = (from: number, to: number, attrs: ResizeImageAttrs) => Sources[];

for (const [kernel, sources] of [
  ['ResizeBilinear', bilinearSources],
  ['ResizeNearestNeighbor', nearestSources],
] as const) {
  registerKernelEmitter<ResizeImageAttrs & { size: [number, number] }>(kernel, ({ images }, { size, ...attrs }) => {
    const [rows, columns] = matrices(sources, images!.shape.slice(1, 3), size, attrs);
    return resized(images!, rows, transposedMatrix(columns));
  });
  for (const suffix of ['Grad', 'InputGrad']) {
    registerKernelEmitter<ResizeImageAttrs>(`${kernel}${suffix}`, ({ dy, images }, attrs) => {
      const [rows, columns] = matrices(sources, images!.shape.slice(1, 3), dy!.shape.slice(1, 3), attrs);
      return resized(dy!, transposedMatrix(rows), columns);
    });
  }
}

function matrices(
  sources: SourcesOf,
  from: readonly number[],
  to: readonly number[],
  attrs: ResizeImageAttrs,
): readonly [rows: Matrix, columns: Matrix] {
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

const resized = (x: View, left: Matrix, right: Matrix): View =>
  fromChannelsFirst(multiplyPlanes(toChannelsFirst(floats(x)), left, right));
