import { dispose, gather, tidy, type Tensor3D } from '@tensorflow/tfjs-core';
import type { TorchGenerator } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { AlignPropConfig } from './config.js';
import type { Generators } from './generators.js';
import type { GradientInputs } from './gradients.js';
import { drawPlan, type Plan } from './plans.js';

/** Gives a prompt, alone or with metadata for the reward. Draw from `generator`, which checkpoints keep, for an exact resume. */
export type PromptFunction<M> = (generator: TorchGenerator) => string | readonly [prompt: string, metadata: M];

/** Draws what a micro-batch starts from: prompts, latents, plan. */
export class MicroBatches<M> {
  #negativeEmbeds: Promise<Tensor3D> | undefined; // [negative prompts, L, D]

  constructor(
    readonly pipeline: StableDiffusionPipeline,
    readonly promptFunction: PromptFunction<M>,
    readonly config: AlignPropConfig,
    readonly plan: Plan,
    readonly generators: Generators,
  ) {}

  /**
   * @param first the number of images that the run made before this micro-batch: a list of negative prompts goes on from there
   * @param use its result is handed on; the tensors given to it are freed after it
   */
  async draw<T>(first: number, use: (inputs: GradientInputs<M>) => Promise<T>): Promise<T> {
    const { generators, pipeline, config } = this;
    const drawn = Array.from({ length: config.train_batch_size }, () => this.#prompt());
    const prompts = drawn.map(([prompt]) => prompt);
    const promptEmbeds = await pipeline.encodePrompt(prompts);
    const negativePromptEmbeds = config.sample_guidance_scale > 1 ? await this.#negatives(first, prompts.length) : undefined;
    const latents = pipeline.prepareLatents({ batch: prompts.length, ...sizeOf(config), generator: generators.noise });
    try {
      const plan = drawPlan(this.plan, config.sample_num_steps, generators.plan);
      const promptMetadata = drawn.map(([, metadata]) => metadata);
      return await use({ latents, promptEmbeds, negativePromptEmbeds, noise: generators.noise, plan, prompts, promptMetadata });
    } finally {
      dispose([latents, promptEmbeds, negativePromptEmbeds] as never);
    }
  }

  dispose(): void {
    void this.#negativeEmbeds?.then((embeds) => embeds.dispose());
    this.#negativeEmbeds = undefined;
  }

  #prompt(): readonly [string, M] {
    const drawn = this.promptFunction(this.generators.prompts);
    if (typeof drawn === 'string') return [drawn, undefined as M];
    if (Array.isArray(drawn) && typeof drawn[0] === 'string') return drawn as readonly [string, M];
    throw new Error(`promptFunction: returned ${JSON.stringify(drawn)}, expected a prompt or [prompt, metadata].`);
  }

  /** `[B, L, D]`: each image of the run takes the next of the negative prompts; they are encoded once. */
  async #negatives(first: number, batch: number): Promise<Tensor3D> {
    const texts = [this.config.negative_prompts ?? ''].flat();
    const embeds = await (this.#negativeEmbeds ??= this.pipeline.encodePrompt(texts));
    const order = Array.from({ length: batch }, (_, i) => (first + i) % texts.length);
    return tidy(() => gather(embeds, order) as Tensor3D);
  }
}

/** In pixels; empty where the model's own size is meant. */
export const sizeOf = ({ height, width }: AlignPropConfig): { height?: number; width?: number } => ({
  ...(height !== null && { height }),
  ...(width !== null && { width }),
});
