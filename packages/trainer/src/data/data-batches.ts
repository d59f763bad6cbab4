import { concat, tensor4d, tidy, type Tensor4D } from '@tensorflow/tfjs-core';
import type { TorchGenerator } from '@alignprop/autograd-ext';
import {
  drawNoise,
  schedulerFor,
  type Conditioning,
  type Scheduler,
  type StableDiffusionPipeline,
} from '@alignprop/diffusion';
import type { AlignPropConfig } from '../config/config.js';
import type { NoisedPictures } from '../gradient/diffusion-loss.js';
import { TensorScope } from '../gradient/tensor-scope.js';
import { imageSize } from '../model/image-size.js';
import { checkDataModel } from './check-data-model.js';
import { encodeImage } from './encode-example.js';
import { checkExample, type DataExample, type Dataset } from './examples.js';

type DataConfig = Pick<AlignPropConfig, 'data_batch_size' | 'clip_skip' | 'height' | 'width'> &
  Partial<Pick<AlignPropConfig, 'long_prompts'>>;

/** Draws batches of pictures, timesteps and noise for the diffusion loss. */
export class DataBatches {
  /** The model's noise schedule, with the levels of diffusion models: √ᾱ · x_0 + √(1 - ᾱ) · ε. */
  readonly #noises: Scheduler;
  /** `[h, w, C]` */
  readonly #shape: readonly [number, number, number];

  /** @throws if the dataset is empty or one of its examples is not valid, or the model is a few-step model */
  constructor(
    readonly pipeline: StableDiffusionPipeline,
    readonly dataset: Dataset,
    readonly config: DataConfig,
    readonly generator: TorchGenerator,
  ) {
    checkDataModel('dataset', pipeline);
    this.#noises = schedulerFor('ddim', pipeline.scheduler.config);
    const [, ...shape] = pipeline.latentShape({ batch: 1, ...imageSize(config) });
    this.#shape = shape;
    if (typeof dataset === 'function') return;
    if (dataset.length === 0) throw new Error('dataset: got no example, expected at least one.');
    dataset.forEach((example, i) => this.#check(`dataset: example ${i}`, example));
  }

  /** Draws a batch. The tensors belong to the caller. */
  async draw(): Promise<NoisedPictures> {
    const { config, generator, pipeline } = this;
    const scope = new TensorScope();
    try {
      const examples: DataExample[] = [];
      for (let i = 0; i < config.data_batch_size; i++) examples.push(await this.#drawExample());
      const captions = examples.map(({ caption }) => caption);
      const originals: Tensor4D[] = [];
      for (const example of examples) originals.push(scope.own(await this.#latentsOf(example)));
      const steps = Number(pipeline.scheduler.config.num_train_timesteps);
      const timesteps = [...generator.randint(0, steps, examples.length)];
      const conditioning = await this.#encode(captions);
      return { ...this.#noised(originals, timesteps), timesteps, captions, conditioning };
    } finally {
      scope.dispose();
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

  #noised(originals: readonly Tensor4D[], timesteps: readonly number[]): Pick<NoisedPictures, 'latents' | 'target'> {
    const { prediction_type: type } = this.#noises.config;
    return tidy(() => {
      const original = concat([...originals]);
      const noise = drawNoise(original.shape, this.generator);
      const latents = this.#noises.addNoise(original, noise, timesteps);
      if (type === 'sample') return { latents, target: original };
      if (type === 'epsilon') return { latents, target: noise };
      return { latents, target: this.#noises.getVelocity(original, noise, timesteps) };
    });
  }

  async #encode(captions: readonly string[]): Promise<Conditioning> {
    const { pipeline } = this;
    const { clip_skip: clipSkip, long_prompts: areLong } = this.config;
    const chunks = areLong ? pipeline.chunkCount(captions) : 1;
    const encoding = await pipeline.encodePrompt(captions, { clipSkip, chunks });
    const timeIds = pipeline.timeIds({ batch: captions.length, ...imageSize(this.config) });
    return { ...encoding, ...(timeIds && { timeIds }) };
  }
}
