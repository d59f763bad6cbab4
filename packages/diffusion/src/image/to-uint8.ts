import type { Tensor4D } from '@tensorflow/tfjs-core';
import { elementCount, isTensor } from '@alignprop/autograd-ext';
import { roundHalfEven } from '../round-half-even.js';
import type { GeneratedImage } from './generated-image.js';

/**
 * Converts images `[B, H, W, C]` in [0, 1] to bytes, one array of H·W·C per image. Clips to [0, 1], multiplies by 255
 * in float32 and rounds halves to even, as diffusers' `numpy_to_pil` does. Returns the bytes of images that have them.
 * @throws if an image contains NaN, or was disposed
 */
export async function toUint8(images: Tensor4D | readonly GeneratedImage[]): Promise<Uint8Array[]> {
  if (!isTensor(images)) return Promise.all(images.map((image) => image.toUint8()));
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
