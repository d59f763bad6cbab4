import type { Tensor4D } from '@tensorflow/tfjs-core';
import { GeneratedImage } from '../image/generated-image.js';
import type { GenerationSettings } from '../image/parameters.js';
import { isEncoding } from './generate-options.js';
import type { Generation } from './generation.js';

/** The properties of the result of `generate` besides images. */
interface Drawn {
  /**
   * The seed of the noise, or the seeds, one per image; undefined if a generator was given, or if `latents` was given
   * and no noise is added.
   */
  readonly seed: number | readonly number[] | undefined;
  /** The text of each prompt beyond the text encoder's maximum length; '' if it fits, or with `longPrompts`. */
  readonly truncated: readonly string[];
}

/** The images of one `generate` call, in a list; those of the same prompt are adjacent. */
export type GeneratedImages = readonly [GeneratedImage, ...GeneratedImage[]] &
  Drawn & {
    /** The list itself, under diffusers' name. */
    readonly images: readonly [GeneratedImage, ...GeneratedImage[]];
  };

/** The images of one `generate` call as tensors, which the caller disposes. */
export interface GeneratedTensors extends Drawn {
  /** `[B, H, W, 3]` in [0, 1]; images of the same prompt are adjacent. */
  readonly images: Tensor4D;
  /** x_0, `[B, h, w, C]`. */
  readonly latents: Tensor4D;
}

/** Makes image objects of the bytes of a batch. @param size in pixels */
export function imagesOf(
  bytes: readonly Uint8Array[],
  generation: Generation,
  { sampler, height, width }: Pick<GenerationSettings, 'sampler' | 'height' | 'width'>,
  truncated: readonly string[],
): GeneratedImages {
  const images = bytes.map(
    (data, i) => new GeneratedImage(data, { ...settingsOf(generation, i, bytes.length), sampler, height, width }),
  ) as [GeneratedImage, ...GeneratedImage[]];
  return Object.assign(images, { images, seed: generation.seed, truncated });
}

/** The settings of an image of a batch. */
function settingsOf(
  generation: Generation,
  image: number,
  batch: number,
): Omit<GenerationSettings, 'sampler' | 'height' | 'width'> {
  const { prompt, negativePrompt, numImagesPerPrompt, numInferenceSteps: steps, clipSkip, seed } = generation;
  const { guidanceScale, guidanceRescale, guidanceInterval, eta } = generation;
  const textOf = (texts: typeof negativePrompt) =>
    texts && !isEncoding(texts) ? texts.prompts[Math.floor(image / numImagesPerPrompt)] : undefined;
  const isAlone = batch === 1 || typeof seed === 'object';
  return {
    prompt: textOf(prompt) ?? '',
    negativePrompt: textOf(negativePrompt),
    steps,
    guidanceScale,
    guidanceRescale,
    eta,
    seed: typeof seed === 'object' ? seed[image] : seed,
    extra: {
      ...(guidanceInterval && { 'Guidance interval': guidanceInterval.join(' to ') }),
      ...(clipSkip > 0 && { 'Clip skip': clipSkip + 1 }), // A1111 counts the last layer that is used
      // The noise of an image depends on its position in the batch.
      ...(!isAlone && { 'Batch size': batch, 'Batch pos': image }),
    },
  };
}
