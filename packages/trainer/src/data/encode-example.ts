import { div, tensor4d, tidy, type Tensor4D } from '@tensorflow/tfjs-core';
import type { TorchGenerator } from '@alignprop/autograd-ext';
import type { RgbImage, StableDiffusionPipeline } from '@alignprop/diffusion';
import type { DataExample } from './examples.js';

/**
 * Encodes the picture of an example with the VAE, so that training does not do it again and again: latents take a 48th
 * of an 8-bit image's numbers. Draws a sample of the VAE's posterior.
 */
export async function encodeExample(
  pipeline: StableDiffusionPipeline,
  { caption, image, latents }: DataExample,
  generator: TorchGenerator,
): Promise<DataExample> {
  if (latents || !image) return { caption, latents };
  const encoded = await encodeImage(pipeline, image, generator);
  const values = await encoded.data<'float32'>();
  encoded.dispose();
  return { caption, latents: values };
}

/** Encodes an image to latents, `[1, h, w, C]`. */
export async function encodeImage(
  pipeline: StableDiffusionPipeline,
  { data, height, width }: RgbImage,
  generator: TorchGenerator,
): Promise<Tensor4D> {
  const image = tidy((): Tensor4D => div(tensor4d(Float32Array.from(data), [1, height, width, 3]), 255));
  try {
    return await pipeline.encodeImage(image, generator);
  } finally {
    image.dispose();
  }
}
