import { constant, type Value } from '../graph/graph.js';
import { matMulValues } from './builders.js';

// Separable resampling of images: one matrix of weights for the rows, one for the columns.

/** A constant matrix, row-major: `rows` output pixels by `columns` input pixels. */
export interface Matrix {
  readonly values: Float32Array;
  readonly rows: number;
  readonly columns: number;
}

export const transposedMatrix = ({ values, rows, columns }: Matrix): Matrix => ({
  values: Float32Array.from(values, (_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!),
  rows: columns,
  columns: rows,
});

/** Computes `left · x · right` for every plane of x, `[B, C, H, W]`. */
export const multiplyPlanes = (x: Value, left: Matrix, right: Matrix): Value =>
  matMulValues(asConstant(left), matMulValues(x, asConstant(right)));

const asConstant = ({ values, rows, columns }: Matrix): Value => constant(values, [rows, columns]);
