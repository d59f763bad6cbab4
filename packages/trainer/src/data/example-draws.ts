import { concat, dispose, tensor4d, tidy, type Tensor4D } from '@tensorflow/tfjs-core';
import type { TorchGenerator } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { AlignPropConfig } from '../config/config.js';
import { imageSize } from '../model/image-size.js';
import { encodeImage } from './encode-example.js';
import { checkExample, type DataExample, type Dataset } from './examples.js';

/** Draws pictures with captions from a dataset, and encodes them. */
export class ExampleDraws {
  /** `[h, w, C]` */
  readonly #shape: readonly [number, number, number];

  /** @throws if the dataset is empty or one of its examples is not valid */
  constructor(
    readonly pipeline: StableDiffusionPipeline,
    readonly dataset: Dataset,
    config: Pick<AlignPropConfig, 'height' | 'width'>,
    readonly generator: TorchGenerator,
  ) {
    const [, ...shape] = pipeline.latentShape({ batch: 1, ...imageSize(config) });
    this.#shape = shape;
    if (typeof dataset === 'function') return;
    if (dataset.length === 0) throw new Error('dataset: got no example, expected at least one.');
    dataset.forEach((example, i) => this.#check(`dataset: example ${i}`, example));
  }

  /** Draws so many examples. @throws if the function of a dataset returns one that is not valid */
  async draw(count: number): Promise<readonly DataExample[]> {
    const examples: DataExample[] = [];
    for (let i = 0; i < count; i++) examples.push(await this.#drawExample());
    return examples;
  }

  /** The latents of examples, `[count, h, w, C]`, times the VAE's scaling factor; they belong to the caller. */
  async latents(examples: readonly DataExample[]): Promise<Tensor4D> {
    const rows: Tensor4D[] = [];
    try {
      for (const example of examples) rows.push(await this.#latentsOf(example));
      return tidy(() => concat(rows));
    } finally {
      dispose(rows);
    }
  }

  async #drawExample(): Promise<DataExample> {
    const { dataset, generator } = this;
    if (typeof dataset !== 'function') return dataset[generator.randint(0, dataset.length, 1)[0]!]!;
    const example = await dataset(generator);
    this.#check('dataset: what the function returned', example);
    return example;
  }

  #check(name: string, example: DataExample): void {
    checkExample(name, example, this.#shape, this.pipeline.vaeScaleFactor);
  }

  /** `[1, h, w, C]` */
  async #latentsOf({ image, latents }: DataExample): Promise<Tensor4D> {
    if (image) return encodeImage(this.pipeline, image, this.generator);
    return tensor4d(latents!, [1, ...this.#shape]);
  }
}
