import { basename } from 'node:path';
import type { Tensor4D } from '@tensorflow/tfjs-core';
import { writeFileAtomic } from '@alignprop/autograd-ext/weights';
import { encodePng, formatParameters, toUint8 } from '@alignprop/diffusion';
import { embeddedModel } from '../embedded-model.js';
import { imageNames } from '../images/image-files.js';
import { describeLoras, type LoraOptions } from '../options/lora-options.js';
import type { Output } from '../terminal/output.js';
import type { PromptBatch } from './prompt-batches.js';

/** The settings that images are drawn with and that their files hold. */
export interface ImageOptions extends LoraOptions {
  model?: string;
  loraAnneal?: number;
  steps: number;
  guidanceScale: number;
  eta: number;
  clipSkip: number;
  numImages: number;
  height?: number;
  width?: number;
  /** The PNG file; several images have numbers in their names. */
  output: string;
}

interface WriterOptions extends ImageOptions {
  /** The number of images of all batches. */
  count: number;
  /** The class of the scheduler. */
  sampler: string;
}

/** Writes the images of batches to numbered PNG files that also hold their settings, and prints their paths. */
export class ImageWriter {
  readonly #options: WriterOptions;
  readonly #names: readonly string[];
  readonly #output: Output;
  #written = 0;

  constructor(options: WriterOptions, output: Output) {
    this.#options = options;
    this.#names = imageNames(options.output, options.count);
    this.#output = output;
  }

  /** @param images `[B, H, W, 3]` in [0, 1], those of a prompt adjacent; stays the caller's */
  async write(
    images: Tensor4D,
    { prompts, seed, negativePrompt }: Pick<PromptBatch, 'prompts' | 'negativePrompt'> & { seed: number },
  ): Promise<void> {
    const [count, height, width] = images.shape;
    const {
      lora,
      loraAnneal,
      clipSkip,
      numImages,
      model = embeddedModel.name,
      steps,
      sampler,
      guidanceScale,
      eta,
    } = this.#options;
    const settings = {
      negativePrompt,
      steps,
      sampler,
      guidanceScale,
      eta,
      seed,
      height,
      width,
      model: basename(model),
    };
    for (const [i, data] of (await toUint8(images)).entries()) {
      const prompt = prompts[Math.floor(i / numImages)]!;
      // The noise of an image depends on its position in the batch.
      const extra = {
        ...(clipSkip > 0 && { 'Clip skip': clipSkip + 1 }), // A1111 counts the last layer that is used
        ...(lora && { Lora: describeLoras(this.#options) }),
        ...(loraAnneal !== undefined && { 'Lora anneal': loraAnneal }),
        ...(count > 1 && { 'Batch size': count, 'Batch pos': i }),
      };
      const path = this.#names[this.#written++]!;
      const parameters = formatParameters({ prompt, ...settings, extra });
      await writeFileAtomic(path, encodePng(data, { height, width, parameters }));
      this.#output.result({ event: 'image', path, prompt, seed, height, width }, `${path}  ${prompt}, seed ${seed}`);
    }
  }
}
