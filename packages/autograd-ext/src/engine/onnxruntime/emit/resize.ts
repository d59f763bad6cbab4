import type { ResizeAttrs } from '../../../kernels/fused/resize.js';
import { resizeWeights } from '../../../kernels/geometry/resize-weights.js';
import { constant, node, type Value } from '../graph/graph.js';
import { registerKernelEmitter } from '../recorder/recorder.js';
import { scalar } from './builders.js';
import { fromChannelsFirst, toChannelsFirst } from './channels.js';
import { multiplyPlanes, transposedMatrix, type Matrix } from './separable.js';

// The resize op of this package. Nearest-neighbour upsampling by whole factors repeats pixels, and its gradient sums
// them up; everything else multiplies by matrices of weights.

registerKernelEmitter<ResizeAttrs>('Resize', ({ x }, attrs) => {
  const factors = wholeFactors(attrs);
  if (factors) return fromChannelsFirst(repeatPixels(toChannelsFirst(x!), factors));
  const [rows, columns] = matrices(attrs);
  return fromChannelsFirst(multiplyPlanes(toChannelsFirst(x!), rows, transposedMatrix(columns)));
});

registerKernelEmitter<ResizeAttrs>('ResizeGrad', ({ dy }, attrs) => {
  const factors = wholeFactors(attrs);
  if (factors) return fromChannelsFirst(sumPixels(toChannelsFirst(dy!), factors));
  const [rows, columns] = matrices(attrs);
  return fromChannelsFirst(multiplyPlanes(toChannelsFirst(dy!), transposedMatrix(rows), columns));
});

/** The factors of a nearest-neighbour upsampling; undefined if they are no whole numbers or the mode is another. */
function wholeFactors({ from, to, mode }: ResizeAttrs): readonly [down: number, across: number] | undefined {
  const factors = [to[0] / from[0], to[1] / from[1]] as const;
  return mode === 'nearest' && factors.every(Number.isInteger) ? factors : undefined;
}

function repeatPixels(x: Value, [down, across]: readonly [number, number]): Value {
  const [batch, channels, height, width] = x.shape as [number, number, number, number];
  const text = (string: string) => ({ string });
  const attributes = {
    mode: text('nearest'),
    coordinate_transformation_mode: text('asymmetric'),
    nearest_mode: text('floor'),
  };
  const scales = constant(Float32Array.of(1, 1, down, across), [4]);
  return node('Resize', [x, undefined, scales], [batch, channels, height * down, width * across], { attributes });
}

/** The sum over each rectangle of `down` by `across` pixels, as its mean times its size. */
function sumPixels(dy: Value, [down, across]: readonly [number, number]): Value {
  const [batch, channels, height, width] = dy.shape as [number, number, number, number];
  const shape = [batch, channels, height / down, width / across];
  const mean = node('AveragePool', [dy], shape, {
    attributes: { kernel_shape: { ints: [down, across] }, strides: { ints: [down, across] } },
  });
  return node('Mul', [mean, scalar(down * across)], shape);
}

const matrices = ({ from, to, ...kernel }: ResizeAttrs): readonly [rows: Matrix, columns: Matrix] =>
  [0, 1].map((axis) => ({
    values: resizeWeights(from[axis]!, to[axis]!, kernel),
    rows: to[axis]!,
    columns: from[axis]!,
  })) as [Matrix, Matrix];
