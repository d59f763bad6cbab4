import { tidy, type Tensor4D } from '@tensorflow/tfjs-core';
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
import { imageSize } from '../model/image-size.js';
import { checkDataModel } from './check-data-model.js';
import { ExampleDraws } from './example-draws.js';
import type { Dataset } from './examples.js';

type DataConfig = Pick<AlignPropConfig, 'data_batch_size' | 'clip_skip' | 'height' | 'width'> &
  Partial<Pick<AlignPropConfig, 'long_prompts' | 'data_caption_dropout'>>;

/** Draws batches of pictures, timesteps and noise for the diffusion loss. */
export class DataBatches {
  /** The model's noise schedule, with the levels of diffusion models: √ᾱ · x_0 + √(1 - ᾱ) · ε. */
  readonly #noises: Scheduler;
  readonly #examples: ExampleDraws;

  /** @throws as `ExampleDraws`, or if the model is a few-step model */
  constructor(
    readonly pipeline: StableDiffusionPipeline,
    dataset: Dataset,
    readonly config: DataConfig,
    readonly generator: TorchGenerator,
  ) {
    checkDataModel('dataset', pipeline);
    this.#noises = schedulerFor('ddim', pipeline.scheduler.config);
    this.#examples = new ExampleDraws(pipeline, dataset, config, generator);
  }

  /** Draws a batch. The tensors belong to the caller. */
  async draw(): Promise<NoisedPictures> {
    const { config, generator, pipeline } = this;
    const examples = await this.#examples.draw(config.data_batch_size);
    const originals = await this.#examples.latents(examples);
    try {
      const steps = Number(pipeline.scheduler.config.num_train_timesteps);
      const timesteps = [...generator.randint(0, steps, examples.length)];
      const captions = this.#withDropout(examples.map(({ caption }) => caption));
      const conditioning = await this.#encode(captions);
      return { ...this.#noised(originals, timesteps), timesteps, captions, conditioning };
    } finally {
      originals.dispose();
    }
  }

  /** Empties each caption with the probability `data_caption_dropout`: guidance keeps its unconditional half. */
  #withDropout(captions: readonly string[]): readonly string[] {
    const { data_caption_dropout: probability = 0 } = this.config;
    if (probability === 0) return captions;
    const draws = this.generator.rand(captions.length);
    return captions.map((caption, i) => (draws[i]! < probability ? '' : caption));
  }

  #noised(original: Tensor4D, timesteps: readonly number[]): Pick<NoisedPictures, 'latents' | 'target'> {
    const { prediction_type: type } = this.#noises.config;
    return tidy(() => {
      const noise = drawNoise(original.shape, this.generator);
      const latents = this.#noises.addNoise(original, noise, timesteps);
      if (type === 'sample') return { latents, target: original.clone() };
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
