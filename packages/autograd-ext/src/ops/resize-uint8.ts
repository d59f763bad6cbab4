import type { Size } from './resize.js';
import { resizeFilter } from '../kernels/geometry/resize-weights.js';

type Mode = 'bilinear' | 'bicubic';

const PRECISION = 1 << 22; // of PIL's fixed-point weights for 8-bit channels

/**
 * Resizes an 8-bit image to the same bytes as PIL's `Image.resize`: antialiased, along rows first, with fixed-point
 * weights, rounded and clipped to 0 … 255 after each axis. Not differentiable; reference implementations preprocess
 * images this way.
 * @param pixels `[height, width, channels]`
 * @returns `[toHeight, toWidth, channels]`
 * @throws if the number of pixels does not match the height and width
 */
export function resizeUint8(
  pixels: Uint8Array | Uint8ClampedArray,
  [height, width]: Size,
  [toHeight, toWidth]: Size,
  { mode }: { mode: Mode },
): Uint8Array {
  const channels = pixels.length / (height * width);
  if (!Number.isInteger(channels) || channels < 1)
    throw new Error(
      `resizeUint8: pixels got length ${pixels.length}, expected a multiple of height · width = ${height * width}.`,
    );
  const alongRows = (x: ArrayLike<number>, rows: number) =>
    resizeAxis(x, { outer: rows, from: width, to: toWidth, inner: channels }, mode);
  const alongColumns = (x: ArrayLike<number>, columns: number) =>
    resizeAxis(x, { outer: 1, from: height, to: toHeight, inner: columns * channels }, mode);
  // PIL shrinks images of more than a hundred times their width along columns first.
  return height > 100 * width && toHeight < height
    ? alongRows(alongColumns(pixels, width), toHeight)
    : alongColumns(alongRows(pixels, height), toWidth);
}

/** The pixels that one pixel of the result is computed from. */
interface Window {
  readonly first: number;
  /** In units of 1 / PRECISION. */
  readonly weights: Int32Array;
}

/** Resizes the middle axis of `[outer, from, inner]` to `[outer, to, inner]`. */
function resizeAxis(
  x: ArrayLike<number>,
  { outer, from, to, inner }: { outer: number; from: number; to: number; inner: number },
  mode: Mode,
): Uint8Array {
  const windows = Array.from({ length: to }, (_, row) => windowOf(row, from, to, mode));
  const y = new Uint8Array(outer * to * inner);
  for (let o = 0; o < outer; o++) {
    for (const [row, { first, weights }] of windows.entries()) {
      for (let i = 0; i < inner; i++) {
        let sum = PRECISION / 2;
        for (let k = 0; k < weights.length; k++) sum += weights[k]! * x[(o * from + first + k) * inner + i]!;
        y[(o * to + row) * inner + i] = Math.min(255, Math.max(0, Math.floor(sum / PRECISION)));
      }
    }
  }
  return y;
}

/** Computes weights in float64 and in the order of PIL's `precompute_coeffs`, and rounds as `normalize_coeffs_8bpc`. */
function windowOf(row: number, from: number, to: number, mode: Mode): Window {
  const scale = Math.max(from / to, 1);
  const support = scale * (mode === 'bilinear' ? 1 : 2);
  const centre = (row + 0.5) * (from / to);
  const first = Math.max(0, Math.trunc(centre - support + 0.5));
  const last = Math.min(from, Math.trunc(centre + support + 0.5));
  const factor = 1 / scale;
  const values = Array.from({ length: last - first }, (_, i) =>
    resizeFilter((i + first - centre + 0.5) * factor, mode, -0.5),
  );
  const total = values.reduce((a, b) => a + b, 0);
  return {
    first,
    weights: Int32Array.from(values, (value) => {
      const weight = (total === 0 ? value : value / total) * PRECISION;
      return Math.trunc(weight + (weight < 0 ? -0.5 : 0.5));
    }),
  };
}
