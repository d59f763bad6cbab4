import { linear } from '@alignprop/autograd-ext';
import { reshape, tensor2d, transpose, type Tensor, type Tensor2D, type Tensor3D } from '@tensorflow/tfjs-core';

// The blocks of a plane are the rows of a matrix, so that one product with a constant matrix transforms all of them.
// Chroma's 2×2 averaging and the repetition that inverts it are linear too, and part of its matrices.

/** 8×8 pixels to 64 coefficients, and back. */
export const lumaTransform: BlockTransform = { size: 8, forward: kron(dct()), inverse: kron(transposed(dct())) };

/** 16×16 pixels to the 64 coefficients of their 2×2 means, and back by repeating each pixel. */
export const chromaTransform: BlockTransform = {
  size: 16,
  forward: kron(product(dct(), halving())),
  inverse: kron(product(repeating(), transposed(dct()))),
};

/** A linear transform of square blocks of pixels. */
export interface BlockTransform {
  /** Rows and columns of a block of pixels. */
  readonly size: number;
  /** `[64, size²]` */
  readonly forward: Constant;
  /** `[size², 64]` */
  readonly inverse: Constant;
}

interface Constant {
  readonly values: Float32Array;
  readonly shape: [number, number];
}

/** `[B, H, W]` to `[B·H/size·W/size, 64]` */
export function toCoefficients(plane: Tensor3D, { size, forward }: BlockTransform): Tensor2D {
  const [batch, height, width] = plane.shape;
  const split = reshape(plane, [batch, height / size, size, width / size, size]);
  const blocks = reshape(transpose(split, [0, 1, 3, 2, 4]), [-1, size * size]); // [B·blocks, size²]
  return linear(blocks, constant(forward)) as Tensor2D;
}

/** `[B·H/size·W/size, 64]` to `[B, H, W]` */
export function fromCoefficients(
  coefficients: Tensor,
  [batch, height, width]: readonly number[],
  { size, inverse }: BlockTransform,
): Tensor3D {
  const blocks = reshape(linear(coefficients, constant(inverse)), [batch!, height! / size, width! / size, size, size]);
  return reshape(transpose(blocks, [0, 1, 3, 2, 4]), [batch!, height!, width!]);
}

const constant = ({ values, shape }: Constant) => tensor2d(values, shape);

type Matrix = number[][];

/** The orthonormal 8-point DCT-II: row u is the cosine of frequency u (T.81, A.3.3). */
function dct(): Matrix {
  const norm = (u: number) => (u === 0 ? Math.SQRT1_2 : 1) / 2;
  return matrix(8, 8, (u, x) => norm(u) * Math.cos(((2 * x + 1) * u * Math.PI) / 16));
}

function halving(): Matrix {
  return matrix(8, 16, (i, j) => (j >> 1 === i ? 0.5 : 0));
}

function repeating(): Matrix {
  return matrix(16, 8, (i, j) => (i >> 1 === j ? 1 : 0));
}

function matrix(rows: number, columns: number, value: (row: number, column: number) => number): Matrix {
  return Array.from({ length: rows }, (_, i) => Array.from({ length: columns }, (__, j) => value(i, j)));
}

function transposed(m: Matrix): Matrix {
  return matrix(m[0]!.length, m.length, (i, j) => m[j]![i]!);
}

function product(a: Matrix, b: Matrix): Matrix {
  return matrix(a.length, b[0]!.length, (i, j) => a[i]!.reduce((sum, value, k) => sum + value * b[k]![j]!, 0));
}

/** m ⊗ m: applies m along both axes of a block stored row by row. */
function kron(m: Matrix): Constant {
  const [rows, columns] = [m.length, m[0]!.length];
  const value = (i: number, j: number) =>
    m[Math.floor(i / rows)]![Math.floor(j / columns)]! * m[i % rows]![j % columns]!;
  return {
    values: Float32Array.from(matrix(rows * rows, columns * columns, value).flat()),
    shape: [rows * rows, columns * columns],
  };
}
