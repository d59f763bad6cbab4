import type { ResizeAttrs } from '../../../kernels/fused/resize.js';
import { resizeWeights } from '../../../kernels/geometry/resize-weights.js';
import { constant, node, type Value } from '../graph/graph.js';
import { registerKernelEmitter } from '../recorder/recorder.js';
import { scalar } from './elementwise.js';
import { fromChannelsFirst, toChannelsFirst } from './channels.js';

registerKernelEmitter<ResizeAttrs>('Resize', ({ x }, attrs) => {
  const factor = repeats(attrs);
  if (factor) return fromChannelsFirst(repeated(toChannelsFirst(x!), factor));
  const [down, across] = matrices(attrs);
  return fromChannelsFirst(products(toChannelsFirst(x!), down, transposedMatrix(across)));
});

registerKernelEmitter<ResizeAttrs>('ResizeGrad', ({ dy }, attrs) => {
  const factor = repeats(attrs);
  if (factor) return fromChannelsFirst(summed(toChannelsFirst(dy!), factor));
  const [down, across] = matrices(attrs);
  return fromChannelsFirst(products(toChannelsFirst(dy!), transposedMatrix(down), across));
});

interface Matrix {
  readonly values: Float32Array;
  readonly rows: number;
  readonly columns: number;
}

/** How often each pixel is repeated, where that is all that happens. */
function repeats({ from, to, mode }: ResizeAttrs): readonly [number, number] | undefined {
  const factor = [to[0] / from[0], to[1] / from[1]] as const;
  return mode === 'nearest' && factor.every(Number.isInteger) ? factor : undefined;
}

function repeated(x: Value, [down, across]: readonly [number, number]): Value {
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

function summed(dy: Value, factor: readonly [number, number]): Value {
  const [batch, channels, height, width] = dy.shape as [number, number, number, number];
  const shape = [batch, channels, height / factor[0], width / factor[1]];
  const mean = node('AveragePool', [dy], shape, {
    attributes: { kernel_shape: { ints: factor }, strides: { ints: factor } },
  });
  return node('Mul', [mean, scalar(factor[0] * factor[1])], shape);
}

const matrices = ({ from, to, ...kernel }: ResizeAttrs): readonly [Matrix, Matrix] =>
  [0, 1].map((axis) => ({
    values: resizeWeights(from[axis]!, to[axis]!, kernel),
    rows: to[axis]!,
    columns: from[axis]!,
  })) as [Matrix, Matrix];

const transposedMatrix = ({ values, rows, columns }: Matrix): Matrix => ({
  values: Float32Array.from(values, (_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!),
  rows: columns,
  columns: rows,
});

/** `left · x · right` of every plane of `[B, C, H, W]`. */
function products(x: Value, left: Matrix, right: Matrix): Value {
  const matrix = ({ values, rows, columns }: Matrix) => constant(values, [rows, columns]);
  const [batch, channels, height] = x.shape as [number, number, number];
  const wide = node('MatMul', [x, matrix(right)], [batch, channels, height, right.columns]);
  return node('MatMul', [matrix(left), wide], [batch, channels, left.rows, right.columns]);
}
