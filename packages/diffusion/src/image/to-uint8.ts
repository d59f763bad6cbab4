import type { Tensor4D } from '@tensorflow/tfjs-core';
import { roundHalfEven } from '../round-half-even.js';
import { elementCount } from '@alignprop/autograd-ext';

/**
 * Images `[B, H, W, C]` in [0, 1] to bytes, one array of H·W·C per image: 255 x in float32, halves to the even number,
 * as diffusers' `numpy_to_pil`. Values outside [0, 1] are clipped.
 * @throws if an image holds NaN
 */
export async function toUint8(images: Tensor4D): Promise<Uint8Array[]> {
  const [batch, ...shape] = images.shape;
  const size = elementCount(shape);
  const values = await images.data();
  return Array.from({ length: batch }, (_, i) => bytesOf(values.subarray(i * size, (i + 1) * size), i));
}

function bytesOf(values: ArrayLike<number>, image: number): Uint8Array {
  const bytes = new Uint8Array(values.length);
  for (let i = 0; i < bytes.length; i++) {
    const value = values[i]!;
    if (Number.isNaN(value))
      throw new Error(
        `toUint8: image ${image} got NaN at value ${i}, expected numbers from 0 to 1. Look for what overflowed before it.`,
      );
    bytes[i] = roundHalfEven(Math.fround(Math.min(Math.max(value, 0), 1) * 255));
  }
  return bytes;
}
