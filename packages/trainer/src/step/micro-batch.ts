import { gather, tidy, type Tensor3D } from '@tensorflow/tfjs-core';
import { type TorchGenerator, disposeTensors } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { AlignPropConfig } from '../config/config.js';
import type { Generators } from './generators.js';
import type { GradientInputs } from '../gradient/alignprop-gradients.js';
import { drawPlan, type Plan } from '../estimators/plans.js';
import { imageSize } from '../model/image-size.js';
import { trainsTextEncoder } from '../gradient/text-encoder-gradients.js';

/**
 * Gives a prompt, alone or with metadata for the reward. Draw from `generator`, which checkpoints keep, for an exact
 * resume.
 */
export type PromptFunction<M> = (generator: TorchGenerator) => string | readonly [prompt: string, metadata: M];

type DrawConfig = Pick<
  AlignPropConfig,
  'train_batch_size' | 'sample_guidance_scale' | 'sample_num_steps' | 'negative_prompts' | 'height' | 'width'
>;

/** Draws what a micro-batch starts from: prompts, latents, plan. */
export class MicroBatches<M> {
  #negativeEmbeds: Promise<Tensor3D> | undefined; // [negative prompts, L, D]

  constructor(
    readonly pipeline: StableDiffusionPipeline,
    readonly promptFunction: PromptFunction<M>,
    readonly config: DrawConfig,
    readonly plan: Plan,
    readonly generators: Generators,
  ) {}

  /**
   * @param first the number of images that the run made before this micro-batch: a list of negative prompts goes on
   *   from there
   * @param use its result is handed on; the tensors given to it are freed after it
   */
  async draw<T>(first: number, use: (inputs: GradientInputs<M>) => Promise<T>): Promise<T> {
    const { generators, pipeline, config } = this;
    const drawn = Array.from({ length: config.train_batch_size }, () => this.#prompt());
    const prompts = drawn.map(([prompt]) => prompt);
    const promptEmbeds = await pipeline.encodePrompt(prompts);
    const negativePrompts = config.sample_guidance_scale > 1 ? this.#negatives(first, prompts.length) : undefined;
    const negativePromptEmbeds = negativePrompts && (await this.#embedNegatives(negativePrompts));
    const latents = pipeline.prepareLatents({
      batch: prompts.length,
      ...imageSize(config),
      generator: generators.noise,
    });
    try {
      const plan = drawPlan(this.plan, config.sample_num_steps, generators.plan);
      const promptMetadata = drawn.map(([, metadata]) => metadata);
      return await use({
        latents,
        promptEmbeds,
        negativePromptEmbeds,
        noise: generators.noise,
        plan,
        prompts,
        promptMetadata,
        negativePrompts,
      });
    } finally {
      disposeTensors([latents, promptEmbeds, negativePromptEmbeds]);
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

  /** Each image of the run takes the next of the negative prompts. */
  #negatives(first: number, batch: number): readonly string[] {
    const texts = this.#negativeTexts;
    return Array.from({ length: batch }, (_, i) => texts[(first + i) % texts.length]!);
  }

  get #negativeTexts(): readonly string[] {
    return [this.config.negative_prompts ?? ''].flat();
  }

  /** `[B, L, D]`. They are encoded once, unless the text encoder changes. */
  async #embedNegatives(prompts: readonly string[]): Promise<Tensor3D> {
    if (trainsTextEncoder(this.pipeline)) return this.pipeline.encodePrompt(prompts);
    const texts = this.#negativeTexts;
    const embeds = await (this.#negativeEmbeds ??= this.pipeline.encodePrompt(texts));
    return tidy(
      () =>
        gather(
          embeds,
          prompts.map((prompt) => texts.indexOf(prompt)),
        ) as Tensor3D,
    );
  }
}
