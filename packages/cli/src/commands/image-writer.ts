import { basename } from 'node:path';
import { formatParameters, type GeneratedImage } from '@alignprop/diffusion';
import { embeddedModel } from '../embedded-model.js';
import { imageNames } from '../images/image-files.js';
import { describeLoras, type LoraOptions } from '../options/lora-options.js';
import type { Output } from '../terminal/output.js';

/** The settings that files hold besides those of their images. */
export interface ImageOptions extends LoraOptions {
  model?: string;
  loraAnneal?: number;
  /** The PNG file; several images have numbers in their names. */
  output: string;
}

interface WriterOptions extends ImageOptions {
  /** The number of images of all batches. */
  count: number;
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

  /** Writes and frees the images of a batch. */
  async write(images: readonly GeneratedImage[]): Promise<void> {
    const { lora, loraAnneal, model = embeddedModel.name } = this.#options;
    for (const image of images) {
      const { height, width, settings } = image;
      const { prompt, seed } = settings;
      const extra = {
        ...settings.extra,
        ...(lora && { Lora: describeLoras(this.#options) }),
        ...(loraAnneal !== undefined && { 'Lora anneal': loraAnneal }),
      };
      const path = this.#names[this.#written++]!;
      await image.save(path, { parameters: formatParameters({ ...settings, model: basename(model), extra }) });
      image.dispose();
      this.#output.result({ event: 'image', path, prompt, seed, height, width }, `${path}  ${prompt}, seed ${seed}`);
    }
  }
}
