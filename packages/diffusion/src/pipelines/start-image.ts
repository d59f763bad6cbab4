import { div, tensor4d, tidy, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { elementCount, isTensor } from '@alignprop/autograd-ext';
import type { RgbImage } from '../image/png.js';
import type { GenerateOptions } from './generate-options.js';

/**
 * Returns the image of the options as a tensor `[B, H, W, 3]` in [0, 1]. Adds one that it creates to `intermediates`.
 * @throws if there are several images of other sizes, or they lack bytes
 */
export function startImage(image: GenerateOptions['image'], intermediates: Tensor[]): Tensor4D | undefined {
  if (!image || isTensor(image)) return image;
  const images = [image].flat() as readonly RgbImage[];
  const { height, width } = images[0] ?? { height: 0, width: 0 };
  const shape = [images.length, height, width, 3] as const;
  const isAlike = images.every((other) => other.height === height && other.width === width);
  const bytes = new Float32Array(isAlike ? elementCount(shape) : 0);
  const isWhole = images.every(({ data }) => data?.length * images.length === bytes.length);
  if (bytes.length === 0 || !isWhole) {
    const got = images.map((each) => `${each.height} × ${each.width} with ${each.data?.length} bytes`).join(', ');
    throw new Error(
      `StableDiffusionPipeline.generate: image got ${got || 'an empty list'}, ` +
        'expected a tensor [1, height, width, 3], or images of one size with height · width · 3 bytes.',
    );
  }
  images.forEach(({ data }, i) => bytes.set(data, i * data.length));
  const tensor = tidy((): Tensor4D => div(tensor4d(bytes, [...shape]), 255));
  intermediates.push(tensor);
  return tensor;
}
