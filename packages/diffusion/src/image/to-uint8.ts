import type { Tensor4D } from '@tensorflow/tfjs-core';
import { elementCount } from '@alignprop/autograd-ext';
import { roundHalfEven } from '../round-half-even.js';

/**
 * Converts images `[B, H, W, C]` in [0, 1] to bytes, one array of H·W·C per image. Clips to [0, 1], multiplies by 255
 * in float32 and rounds halves to even, as diffusers' `numpy_to_pil` does.
 * @throws if an image contains NaN
 */
export async function toUint8(images: Tensor4D): Promise<Uint8Array[]> {
  const [batch, ...shape] = images.shape;
  const size = elementCount(shape);
  const values = await images.data();
  return Array.from({ length: batch }, (_, i) => imageBytes(values.subarray(i * size, (i + 1) * size), i));
}

function imageBytes(values: ArrayLike<number>, image: number): Uint8Array {
  const bytes = new Uint8Array(values.length);
  for (let i = 0; i < bytes.length; i++) {
    const value = values[i]!;
    if (Number.isNaN(value))
      throw new Error(
        `toUint8: image ${image} got NaN at value ${i}, expected numbers from 0 to 1. ` +
          'Look for an overflow in the computation of the images.',
      );
    bytes[i] = roundHalfEven(Math.fround(Math.min(Math.max(value, 0), 1) * 255));
  }
  return bytes;
}
