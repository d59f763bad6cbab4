import type { Size } from './resize.js';
import { resizeWeights } from '../kernels/geometry/resize-weights.js';

const precision = 1 << 22; // of PIL's fixed-point weights for 8-bit channels

/**
 * Resizes an 8-bit image as PIL's `Image.resize`: antialiased, along rows first, with fixed-point weights, rounded and
 * clipped to 0 … 255 after each axis. Not differentiable; reference implementations preprocess images this way.
 * @param pixels `[height, width, channels]`
 * @returns `[toHeight, toWidth, channels]`
 * @throws if the number of pixels does not match the height and width
 */
export function resizeUint8(
  pixels: Uint8Array | Uint8ClampedArray,
  [height, width]: Size,
  [toHeight, toWidth]: Size,
  { mode }: { mode: 'bilinear' | 'bicubic' },
): Uint8Array {
  const channels = pixels.length / (height * width);
  if (!Number.isInteger(channels) || channels < 1)
    throw new Error(
      `resizeUint8: pixels got length ${pixels.length}, expected a multiple of height · width = ${height * width}.`,
    );
  const wide = resizeAxis(pixels, height, channels, width, toWidth, mode);
  return resizeAxis(wide, 1, toWidth * channels, height, toHeight, mode);
}

/** Resizes the middle axis of `[outer, from, inner]` to `[outer, to, inner]`. */
function resizeAxis(
  x: ArrayLike<number>,
  outer: number,
  inner: number,
  from: number,
  to: number,
  mode: 'bilinear' | 'bicubic',
): Uint8Array {
  const weights = Array.from(resizeWeights(from, to, { mode, antialias: true }), (weight) =>
    Math.round(weight * precision),
  );
  const y = new Uint8Array(outer * to * inner);
  for (let o = 0; o < outer; o++) {
    for (let row = 0; row < to; row++) {
      for (let i = 0; i < inner; i++) {
        let sum = precision / 2;
        for (let source = 0; source < from; source++)
          sum += weights[row * from + source]! * x[(o * from + source) * inner + i]!;
        y[(o * to + row) * inner + i] = Math.min(255, Math.max(0, Math.floor(sum / precision)));
      }
    }
  }
  return y;
}
