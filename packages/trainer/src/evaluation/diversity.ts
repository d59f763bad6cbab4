import { mean, slice, sqrt, squaredDifference, tidy, type Tensor4D } from '@tensorflow/tfjs-core';

/**
 * Measures how different the images of a prompt are: the root mean square difference between the pixels of two images,
 * averaged over all pairs of images of a prompt, then over prompts; in [0, 1]. It falls when the model draws the same
 * picture from any noise, the end state of over-optimisation. It compares pixels and not contents, so noise counts as
 * diversity.
 * @param images `[prompts · perPrompt, H, W, C]` in [0, 1], grouped by prompt
 * @param perPrompt images per prompt, 2 or more
 * @throws if `perPrompt` is below 2 or does not divide the number of images
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

/** The root mean square difference between the pixels of two images. */
async function distance(images: Tensor4D, a: number, b: number): Promise<number> {
  const image = (index: number) => slice(images, [index, 0, 0, 0], [1, -1, -1, -1]);
  const value = tidy(() => sqrt(mean(squaredDifference(image(a), image(b)))));
  const [number] = await value.data();
  value.dispose();
  return number!;
}
