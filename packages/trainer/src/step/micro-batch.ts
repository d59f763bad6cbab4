import { gather, tidy, type Tensor3D, type Tensor4D } from '@tensorflow/tfjs-core';
import { disposeTensors, type TorchGenerator } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { AlignPropConfig } from '../config/config.js';
import { drawPlan, type DrawnPlan, type Plan } from '../estimators/plans.js';
import type { Conditioning } from '../gradient/pipeline-chain.js';
import { trainsTextEncoder } from '../gradient/text-encoder-gradient.js';
import { imageSize } from '../model/image-size.js';
import type { Generators } from './generators.js';

/**
 * Returns a prompt, alone or with metadata for the reward. Draw from `generator`, which checkpoints save, so that a
 * resumed run draws what an uninterrupted one would.
 */
export type PromptFunction<M> = (generator: TorchGenerator) => string | readonly [prompt: string, metadata: M];

type DrawConfig = Pick<
  AlignPropConfig,
  'train_batch_size' | 'sample_guidance_scale' | 'sample_num_steps' | 'negative_prompts' | 'height' | 'width'
>;

/** The texts of one micro-batch, one entry per image. */
export interface DrawnPrompts<M> {
  readonly prompts: readonly string[];
  readonly promptMetadata: readonly M[];
  /** With guidance only. */
  readonly negativePrompts?: readonly string[];
}

/** Draws what micro-batches start from: prompts and their embeddings, latents, and plans. */
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
   * Draws B prompts.
   * @param firstImage the number of images that the run drew before: a list of negative prompts continues from there
   */
  drawPrompts(firstImage: number): DrawnPrompts<M> {
    const { train_batch_size: batch, sample_guidance_scale: guidanceScale } = this.config;
    const drawn = Array.from({ length: batch }, () => this.#drawPrompt());
    return {
      prompts: drawn.map(([prompt]) => prompt),
      promptMetadata: drawn.map(([, metadata]) => metadata),
      negativePrompts: guidanceScale > 1 ? this.#negativePrompts(firstImage, batch) : undefined,
    };
  }

  /** Encodes prompts and negative prompts to `[B, L, D]` each. The tensors belong to the caller. */
  async encode({ prompts, negativePrompts }: DrawnPrompts<M>): Promise<Conditioning> {
    const promptEmbeds = await this.pipeline.encodePrompt(prompts);
    try {
      return { promptEmbeds, negativePromptEmbeds: negativePrompts && (await this.#encodeNegative(negativePrompts)) };
    } catch (error) {
      disposeTensors(promptEmbeds);
      throw error;
    }
  }

  /** Draws x_T, `[B, h, w, C]`; it belongs to the caller. */
  drawLatents(): Tensor4D {
    const { train_batch_size: batch } = this.config;
    return this.pipeline.prepareLatents({ batch, ...imageSize(this.config), generator: this.generators.noise });
  }

  /** Draws which steps of the chain are attached. */
  drawPlan(): DrawnPlan {
    return drawPlan(this.plan, this.config.sample_num_steps, this.generators.plan);
  }

  dispose(): void {
    void this.#negativeEmbeds?.then((embeds) => embeds.dispose());
    this.#negativeEmbeds = undefined;
  }

  #drawPrompt(): readonly [string, M] {
    const drawn = this.promptFunction(this.generators.prompts);
    if (typeof drawn === 'string') return [drawn, undefined as M];
    if (Array.isArray(drawn) && typeof drawn[0] === 'string') return drawn as readonly [string, M];
    throw new Error(`promptFunction: returned ${JSON.stringify(drawn)}, expected a prompt or [prompt, metadata].`);
  }

  /** The images of a run take the negative prompts in turn. */
  #negativePrompts(firstImage: number, batch: number): readonly string[] {
    const texts = this.#negativeTexts;
    return Array.from({ length: batch }, (_, i) => texts[(firstImage + i) % texts.length]!);
  }

  get #negativeTexts(): readonly string[] {
    return [this.config.negative_prompts ?? ''].flat();
  }

  /** Encodes negative prompts, `[B, L, D]`. Their embeddings are cached unless the text encoder is trained. */
  async #encodeNegative(prompts: readonly string[]): Promise<Tensor3D> {
    if (trainsTextEncoder(this.pipeline)) return this.pipeline.encodePrompt(prompts);
    const texts = this.#negativeTexts;
    const embeds = await (this.#negativeEmbeds ??= this.pipeline.encodePrompt(texts));
    const rows = prompts.map((prompt) => texts.indexOf(prompt));
    return tidy(() => gather(embeds, rows) as Tensor3D);
  }
}
