import { mean, slice, sqrt, squaredDifference, tidy, type Tensor4D } from '@tensorflow/tfjs-core';

/**
 * How far images of one prompt are apart: the root mean square difference of two images' pixels, averaged over all
 * pairs of images of a prompt, then over prompts; in [0, 1]. A plain distance of pixels: it falls when the model draws
 * the same picture from any noise, which is what over-optimisation ends in, but it knows nothing of what is in them,
 * and noisy images count as diverse.
 * @param images `[prompts · perPrompt, H, W, C]`, those of a prompt one after the other, in [0, 1]
 * @param perPrompt at least 2
 * @throws if `perPrompt` does not divide the images, or is below 2
 */
export async function pixelDiversity(images: Tensor4D, perPrompt: number): Promise<number> {
  const [count] = images.shape;
  if (!(perPrompt >= 2) || count % perPrompt !== 0)
    throw new Error(
      `pixelDiversity: perPrompt got ${perPrompt} for ${count} images, expected a divisor of them above 1.`,
    );
  const distances: number[] = [];
  for (let first = 0; first < count; first += perPrompt) {
    for (let a = first; a < first + perPrompt; a++)
      for (let b = a + 1; b < first + perPrompt; b++) distances.push(await distance(images, a, b));
  }
  return distances.reduce((sum, value) => sum + value, 0) / distances.length;
}

async function distance(images: Tensor4D, a: number, b: number): Promise<number> {
  const image = (index: number) => slice(images, [index, 0, 0, 0], [1, -1, -1, -1]);
  const value = tidy(() => sqrt(mean(squaredDifference(image(a), image(b)))));
  const [number] = await value.data();
  value.dispose();
  return number!;
}
