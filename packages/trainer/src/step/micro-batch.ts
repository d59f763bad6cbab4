import { gather, tidy, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { disposeTensors, random, type TorchGenerator } from '@alignprop/autograd-ext';
import {
  usesGuidance,
  type Conditioning,
  type PromptEncoding,
  type StableDiffusionPipeline,
} from '@alignprop/diffusion';
import type { AlignPropConfig } from '../config/config.js';
import { plannedChain } from '../estimators/planned-chain.js';
import type { ExampleDraws } from '../data/example-draws.js';
import type { DataExample } from '../data/examples.js';
import { imageSources } from '../estimators/estimator.js';
import { drawPlan, type DrawnPlan, type Plan, type PlannedChain } from '../estimators/plans.js';
import type { LatentWindow } from '../gradient/differentiable-decoder.js';
import { trainsTextEncoder } from '../gradient/text-encoder-gradient.js';
import { samplingOptions } from '../gradient/walk-down.js';
import { imageSize } from '../model/image-size.js';
import type { Generators } from './generators.js';

/**
 * Returns a prompt, alone or with metadata for the reward, and with a negative prompt of its own, which goes before
 * `negative_prompts`. Draw from `generator`, which checkpoints save, so that a resumed run draws what an uninterrupted
 * one would.
 */
export type PromptFunction<M> = (
  generator: TorchGenerator,
) => string | readonly [prompt: string, metadata: M, negativePrompt?: string];

type Drawn<M> = readonly [prompt: string, metadata: M, negativePrompt?: string];

type DrawConfig = Pick<
  AlignPropConfig,
  | 'train_batch_size'
  | 'sample_guidance_scale'
  | 'sample_num_steps'
  | 'sample_eta'
  | 'negative_prompts'
  | 'clip_skip'
  | 'height'
  | 'width'
> &
  Partial<Pick<AlignPropConfig, 'long_prompts' | 'reward_crop'>>;

/** The texts of one micro-batch, one entry per image. */
export interface DrawnPrompts<M> {
  readonly prompts: readonly string[];
  readonly promptMetadata: readonly M[];
  /** Present with guidance only; undefined as well where SDXL takes zeros, since none is given. */
  readonly negativePrompts?: readonly string[];
  /** The pictures that the prompts are captions of, where images are given (`estimator_images`). */
  readonly examples?: readonly DataExample[];
}

/** Draws what micro-batches start from: prompts and their embeddings, latents, and plans. */
export class MicroBatches<M> {
  /** The encodings of the negative prompts of the configuration, a row for each, by the number of chunks. */
  readonly #negativeEncodings = new Map<number, Promise<PromptEncoding>>();
  readonly #chain: PlannedChain;

  constructor(
    readonly pipeline: StableDiffusionPipeline,
    readonly promptFunction: PromptFunction<M>,
    readonly config: DrawConfig,
    readonly plan: Plan,
    readonly generators: Generators,
    /** Images to start from, with their captions, in place of noise and prompts. */
    readonly given?: ExampleDraws,
  ) {
    this.#chain = plannedChain(pipeline.scheduler, samplingOptions(config));
  }

  /**
   * Draws B prompts.
   * @param firstImage the number of images that the run drew before: a list of negative prompts continues from there
   */
  async drawPrompts(firstImage: number): Promise<DrawnPrompts<M>> {
    const { train_batch_size: batch, sample_guidance_scale: guidanceScale } = this.config;
    const isGuided = usesGuidance(this.pipeline.unet.config, guidanceScale);
    const examples = await this.given?.draw(batch);
    const drawn: readonly Drawn<M>[] =
      examples?.map(({ caption }) => [caption, undefined as M]) ??
      Array.from({ length: batch }, () => this.#drawPrompt());
    return {
      prompts: drawn.map(([prompt]) => prompt),
      promptMetadata: drawn.map(([, metadata]) => metadata),
      negativePrompts: isGuided ? this.#negativePrompts(drawn, firstImage) : undefined,
      ...(examples && { examples }),
    };
  }

  /** Encodes prompts and negative prompts. The tensors belong to the caller. */
  async encode({ prompts, negativePrompts }: DrawnPrompts<M>): Promise<Conditioning> {
    const { unet } = this.pipeline;
    const { clip_skip: clipSkip, long_prompts: areLong, sample_guidance_scale: guidanceScale } = this.config;
    const chunks = areLong ? this.pipeline.chunkCount([...prompts, ...(negativePrompts ?? [])]) : 1;
    const encoding = await this.pipeline.encodePrompt(prompts, { clipSkip, chunks });
    try {
      const isGuided = usesGuidance(unet.config, guidanceScale);
      const negative = isGuided ? await this.#encodeNegative(negativePrompts, prompts.length, chunks) : undefined;
      const timeIds = this.pipeline.timeIds({ batch: prompts.length, ...imageSize(this.config) });
      return {
        ...encoding,
        ...(negative && {
          negativePromptEmbeds: negative.promptEmbeds,
          negativePooledPromptEmbeds: negative.pooledPromptEmbeds,
        }),
        ...(timeIds && { timeIds }),
      };
    } catch (error) {
      disposeTensors(encoding);
      throw error;
    }
  }

  /** Draws x_T, or encodes the given images, `[B, h, w, C]`; they belong to the caller. */
  async drawLatents({ examples }: Pick<DrawnPrompts<M>, 'examples'> = {}): Promise<Tensor4D> {
    if (this.given && examples) return this.given.latents(examples);
    const { train_batch_size: batch, sample_num_steps: numInferenceSteps } = this.config;
    const { noise: generator } = this.generators;
    return this.pipeline.prepareLatents({ batch, numInferenceSteps, ...imageSize(this.config), generator });
  }

  /** @throws if the plan trains no step of this chain, or needs a scheduler whose steps are linear */
  checkPlan(): void {
    const { isGiven = false } = drawPlan(this.plan, this.#chain, random(0));
    if (isGiven !== (this.given !== undefined))
      throw new Error(
        `AlignPropTrainer: the plan '${this.plan.name}' starts from ${isGiven ? 'given images' : 'noise'}, ` +
          `but estimator_images is '${imageSources[Number(!isGiven)]}'. Set both alike.`,
      );
    const { reward_crop: crop, train_batch_size: batch } = this.config;
    const { vaeScaleFactor } = this.pipeline;
    const [, ...sides] = this.pipeline.latentShape({ batch, ...imageSize(this.config) });
    const largest = Math.min(sides[0], sides[1]) * vaeScaleFactor;
    if (!crop || (crop % vaeScaleFactor === 0 && crop <= largest)) return;
    throw new Error(
      `AlignPropTrainer: reward_crop got ${crop}, expected a multiple of ${vaeScaleFactor} pixels up to ${largest}.`,
    );
  }

  /** Draws which steps of the chain the gradient enters. */
  drawPlan(): DrawnPlan {
    return drawPlan(this.plan, this.#chain, this.generators.plan);
  }

  /** Draws the square of the latents that the reward judges; undefined where it judges whole images. */
  drawWindow(): LatentWindow | undefined {
    const { reward_crop: crop, train_batch_size: batch } = this.config;
    if (!crop) return undefined;
    const [, height, width] = this.pipeline.latentShape({ batch, ...imageSize(this.config) });
    const size = crop / this.pipeline.vaeScaleFactor;
    const offset = (length: number) => this.generators.plan.randint(0, length - size + 1, 1)[0]!;
    return { top: offset(height), left: offset(width), height: size, width: size };
  }

  dispose(): void {
    for (const encoding of this.#negativeEncodings.values()) void encoding.then(disposeTensors);
    this.#negativeEncodings.clear();
  }

  #drawPrompt(): Drawn<M> {
    const drawn = this.promptFunction(this.generators.prompts);
    if (typeof drawn === 'string') return [drawn, undefined as M];
    if (Array.isArray(drawn) && typeof drawn[0] === 'string' && ['string', 'undefined'].includes(typeof drawn[2]))
      return drawn as Drawn<M>;
    throw new Error(
      `promptFunction: returned ${JSON.stringify(drawn)}, ` +
        'expected a prompt, [prompt, metadata] or [prompt, metadata, negative prompt].',
    );
  }

  /**
   * The images of a run whose prompts have no negative prompt take those of the configuration in turn. Without any,
   * SDXL takes zeros.
   */
  #negativePrompts(drawn: readonly Drawn<M>[], firstImage: number): readonly string[] | undefined {
    const isGiven = this.config.negative_prompts !== null || drawn.some(([, , negative]) => negative !== undefined);
    if (!isGiven && this.pipeline.zeroNegative) return undefined;
    const texts = this.#negativeTexts;
    return drawn.map(([, , negative], i) => negative ?? texts[(firstImage + i) % texts.length]!);
  }

  get #negativeTexts(): readonly string[] {
    return [this.config.negative_prompts ?? ''].flat();
  }

  /** Encodes negative prompts. The encodings of those of the configuration are cached unless an encoder is trained. */
  async #encodeNegative(
    prompts: readonly string[] | undefined,
    batch: number,
    chunks: number,
  ): Promise<PromptEncoding> {
    const texts = this.#negativeTexts;
    const areCached = !trainsTextEncoder(this.pipeline) && prompts?.every((prompt) => texts.includes(prompt));
    if (!prompts || !areCached) return this.pipeline.encodeNegativePrompt(prompts, batch, { chunks });
    const encoding = await (this.#negativeEncodings.get(chunks) ?? this.#encodeOnce(texts, chunks));
    const rows = prompts.map((prompt) => texts.indexOf(prompt));
    const rowsOf = <T extends Tensor>(tensor: T): T => tidy(() => gather(tensor, rows) as T);
    return {
      promptEmbeds: rowsOf(encoding.promptEmbeds),
      ...(encoding.pooledPromptEmbeds && { pooledPromptEmbeds: rowsOf(encoding.pooledPromptEmbeds) }),
    };
  }

  /** Encodes the negative prompts of the configuration. A failure is not cached, and `dispose` does not meet it. */
  #encodeOnce(texts: readonly string[], chunks: number): Promise<PromptEncoding> {
    const encoding = this.pipeline.encodeNegativePrompt(texts, texts.length, { chunks }).catch((error: unknown) => {
      this.#negativeEncodings.delete(chunks);
      throw error;
    });
    this.#negativeEncodings.set(chunks, encoding);
    return encoding;
  }
}
