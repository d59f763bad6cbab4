import {
  clone,
  dispose,
  mul,
  reshape,
  tensor2d,
  tidy,
  tile,
  type Tensor,
  type Tensor3D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import {
  createEngine,
  ensureBackend,
  random,
  type Compiled,
  type Engine,
  type TorchGenerator,
} from '@alignprop/autograd-ext';
import { readJson, resolveSource, type FileSource } from '@alignprop/autograd-ext/weights';
import { clipText, CLIPTextModel } from '../clip/text-model.js';
import { CLIPTokenizer, type Encoded } from '../clip/tokenizer.js';
import { AutoencoderKL } from '../models/autoencoder-kl.js';
import { UNet2DConditionModel } from '../models/unet-2d-condition.js';
import { createStableDiffusionScheduler } from '../schedulers/create-scheduler.js';
import type { Scheduler, Step } from '../schedulers/scheduler.js';
import { annealedPrediction, type Annealing } from './annealed.js';
import { denoise, type Denoised, type DenoiseOptions } from './denoise.js';
import { guidedPrediction } from './guidance.js';
import { decodeImages } from './image-decoder.js';
import { initialLatents } from './latents.js';

/** The parts of a pipeline; see `StableDiffusionPipeline.with`. */
export interface StableDiffusionParts {
  tokenizer: CLIPTokenizer;
  textEncoder: CLIPTextModel;
  unet: UNet2DConditionModel;
  vae: AutoencoderKL;
  scheduler: Scheduler;
  engine: Engine;
}

export interface FromPretrainedOptions {
  /** Weight files' variant, e.g. 'fp16' for `diffusion_pytorch_model.fp16.safetensors`. */
  variant?: string;
  /** Branch, tag or commit of a hub repository. */
  revision?: string;
  /** The fastest that is installed by default; see `createEngine`. */
  engine?: Engine;
  /** Replaces the scheduler of the folder. */
  scheduler?: Scheduler;
}

export interface GenerateOptions {
  /** One for all prompts, or one a prompt; '' by default. */
  negativePrompt?: string | readonly string[];
  numInferenceSteps?: number;
  guidanceScale?: number;
  guidanceRescale?: number;
  eta?: number;
  /**
   * As `torch.Generator().manual_seed(seed)`; drawn at random, and returned, when neither seed nor generator is given.
   */
  seed?: number;
  generator?: TorchGenerator;
  /** x_T, `[B, h, w, C]`, in place of drawn noise; stays the caller's. */
  latents?: Tensor4D;
  /** In pixels, divisible by 8; the UNet's own size by default. */
  height?: number;
  width?: number;
  numImagesPerPrompt?: number;
  /**
   * Begins with another UNet's weights, such as those without the adapter; see `annealedPrediction`. Up to two UNet
   * calls a step.
   */
  annealed?: Annealing;
  /** Called after every step. */
  onStep?: (progress: { readonly step: Step; readonly total: number }) => void;
  signal?: AbortSignal;
}

/** Tensors belong to the caller. */
export interface Generated {
  /** `[B, H, W, 3]` in [0, 1]; the images of one prompt are neighbours. */
  readonly images: Tensor4D;
  /** x_0, `[B, h, w, C]`. */
  readonly latents: Tensor4D;
  /** The seed used; undefined when a generator was given, or latents that no noise is added to. */
  readonly seed: number | undefined;
  /** What did not fit into the text encoder's length, a prompt each; '' where all of it did. */
  readonly truncated: readonly string[];
}

/**
 * Text to image with Stable Diffusion 1.x and 2.x; the same numbers as diffusers' `StableDiffusionPipeline` in float32,
 * without its safety checker.
 */
export class StableDiffusionPipeline implements StableDiffusionParts {
  readonly tokenizer: CLIPTokenizer;
  readonly textEncoder: CLIPTextModel;
  readonly unet: UNet2DConditionModel;
  readonly vae: AutoencoderKL;
  readonly scheduler: Scheduler;
  readonly engine: Engine;
  readonly #encode: Compiled;
  readonly #decode: Compiled;
  readonly #predict = new Map<number, Compiled>(); // by guidance rescale
  readonly #predictOther = new Map<number, Compiled>(); // the same for trees of other weights

  constructor(parts: StableDiffusionParts) {
    ({ tokenizer: this.tokenizer, textEncoder: this.textEncoder, unet: this.unet } = parts);
    ({ vae: this.vae, scheduler: this.scheduler, engine: this.engine } = parts);
    const { config } = this.textEncoder;
    this.#encode = this.engine.compile((params, inputIds) => clipText(config, params, inputIds!).lastHiddenState);
    this.#decode = this.engine.compile(decodeImages(this.vae.config));
  }

  /**
   * Loads a diffusers folder: a directory, a hub id (`org/name`), or any `FileSource`.
   * @throws if a file, key or shape is not as the configs demand, or a class in `model_index.json` is unknown
   */
  static async fromPretrained(
    location: string | FileSource,
    { variant, revision, engine, scheduler }: FromPretrainedOptions = {},
  ): Promise<StableDiffusionPipeline> {
    await ensureBackend();
    const source = await resolveSource(location, { revision });
    await checkModelIndex(source);
    const options = (subfolder: string) => ({ subfolder, variant });
    return new StableDiffusionPipeline({
      tokenizer: await CLIPTokenizer.fromPretrained(source, options('tokenizer')),
      textEncoder: await CLIPTextModel.fromPretrained(source, options('text_encoder')),
      unet: await UNet2DConditionModel.fromPretrained(source, options('unet')),
      vae: await AutoencoderKL.fromPretrained(source, options('vae')),
      scheduler: scheduler ?? createStableDiffusionScheduler(await readJson(source, 'scheduler/scheduler_config.json')),
      engine: engine ?? (await createEngine()),
    });
  }

  /** The same pipeline with some parts replaced, on the same engine. */
  with(parts: Partial<StableDiffusionParts>): StableDiffusionPipeline {
    const { tokenizer, textEncoder, unet, vae, scheduler, engine } = this;
    return new StableDiffusionPipeline({ tokenizer, textEncoder, unet, vae, scheduler, engine, ...parts });
  }

  /** Pixels per latent along one side. */
  get vaeScaleFactor(): number {
    return 2 ** (this.vae.config.block_out_channels.length - 1);
  }

  /** `[height, width]` in pixels that the UNet was made for. */
  get defaultSize(): readonly [number, number] {
    const { sample_size: size } = this.unet.config;
    const [height, width] = Array.isArray(size) ? (size as [number, number]) : [size as number, size as number];
    return [height * this.vaeScaleFactor, width * this.vaeScaleFactor];
  }

  /** `[B, L, D]`: the text encoder's last hidden state, padding attended to as in diffusers. Long prompts are cut. */
  async encodePrompt(prompts: readonly string[]): Promise<Tensor3D> {
    return this.#embed(this.tokenizer.encode(prompts));
  }

  /**
   * x_T, `[B, h, w, C]`.
   * @throws if the size is not divisible by 8
   */
  prepareLatents({
    batch,
    height,
    width,
    generator,
  }: {
    batch: number;
    height?: number;
    width?: number;
    generator: TorchGenerator;
  }): Tensor4D {
    return initialLatents(this.latentShape({ batch, height, width }), generator, this.scheduler.initNoiseSigma);
  }

  /** `[B, h, w, C]` for a size in pixels. @throws if the size is not divisible by 8 */
  latentShape({
    batch,
    height = this.defaultSize[0],
    width = this.defaultSize[1],
  }: {
    batch: number;
    height?: number;
    width?: number;
  }): [number, number, number, number] {
    for (const [name, size] of Object.entries({ height, width })) {
      if (!Number.isInteger(size) || size <= 0 || size % 8 !== 0) {
        throw new Error(
          `StableDiffusionPipeline: ${name} got ${size}, expected a positive multiple of 8. Try ${Math.max(8, Math.round(size / 8) * 8 || 8)}.`,
        );
      }
    }
    return [
      batch,
      Math.floor(height / this.vaeScaleFactor),
      Math.floor(width / this.vaeScaleFactor),
      this.unet.config.in_channels,
    ];
  }

  /** The denoising chain, step by step; see `denoise`. */
  denoise(latents: Tensor4D, options: DenoiseOptions): AsyncGenerator<Denoised, void, void> {
    return denoise(
      options.predict ?? this.#predictor(options.guidanceRescale ?? 0),
      this.unet.params,
      this.scheduler,
      latents,
      options,
    );
  }

  /** Latents `[B, h, w, C]` to images `[B, H, W, 3]` in [0, 1]. */
  async decode(latents: Tensor4D): Promise<Tensor4D> {
    const [images] = await this.#decode(this.vae.params, latents);
    return images as Tensor4D;
  }

  /**
   * Text to images. The same seed gives the pictures that diffusers draws with a generator on the CPU.
   * @throws if a prompt list is empty, an option is out of range, or with the signal's reason; nothing stays allocated
   *   then
   */
  async generate(prompt: string | readonly string[], options: GenerateOptions = {}): Promise<Generated> {
    const {
      numInferenceSteps = 50,
      guidanceScale = 7.5,
      guidanceRescale = 0,
      eta = 0,
      numImagesPerPrompt = 1,
      onStep,
      signal,
    } = options;
    const prompts = checkedPrompts(prompt, numImagesPerPrompt);
    const negatives = pairedNegatives(options.negativePrompt, prompts.length);
    const shape = this.latentShape({
      batch: prompts.length * numImagesPerPrompt,
      height: options.height,
      width: options.width,
    });
    const seed =
      options.generator || (options.latents && eta === 0)
        ? undefined
        : (options.seed ?? Math.floor(Math.random() * 2 ** 32));
    const generator = options.generator ?? random(seed ?? 0);
    const owned: Tensor[] = [];
    const own = <T extends Tensor>(tensor: T): T => (owned.push(tensor), tensor);
    try {
      const embed = async (encoded: Encoded) => own(repeatEach(own(await this.#embed(encoded)), numImagesPerPrompt));
      const encoded = this.tokenizer.encode(prompts);
      const promptEmbeds = await embed(encoded);
      const negativePromptEmbeds = guidanceScale > 1 ? await embed(this.tokenizer.encode(negatives)) : undefined;
      const total = this.scheduler.timesteps(numInferenceSteps).length;
      let latents = own(this.#startLatents(options.latents, shape, generator));
      const predict =
        options.annealed &&
        annealedPrediction(
          this.#predictor(guidanceRescale),
          this.#predictor(guidanceRescale, this.#predictOther),
          options.annealed,
          total,
        );
      const chain = this.denoise(latents, {
        predict,
        promptEmbeds,
        negativePromptEmbeds,
        numInferenceSteps,
        guidanceScale,
        guidanceRescale,
        eta,
        generator,
        signal,
      });
      for await (const { step, latents: next, modelOutput } of chain) {
        modelOutput.dispose();
        latents.dispose();
        latents = own(next);
        onStep?.({ step, total });
      }
      const images = await this.decode(latents);
      return { images, latents: clone(latents), seed, truncated: encoded.truncated };
    } finally {
      dispose(owned);
    }
  }

  /** Frees what the engine holds: weights and their layouts. Pipelines made by `with` share the engine. */
  dispose(): void {
    this.engine.dispose();
  }

  async #embed({ inputIds, shape }: Encoded): Promise<Tensor3D> {
    const ids = tensor2d(inputIds, shape, 'int32');
    const [embeds] = await this.#encode(this.textEncoder.params, ids);
    ids.dispose();
    return embeds as Tensor3D;
  }

  #predictor(guidanceRescale: number, compiled = this.#predict): Compiled {
    const known =
      compiled.get(guidanceRescale) ?? this.engine.compile(guidedPrediction(this.unet.config, { guidanceRescale }));
    compiled.set(guidanceRescale, known);
    return known;
  }

  #startLatents(
    given: Tensor4D | undefined,
    shape: [number, number, number, number],
    generator: TorchGenerator,
  ): Tensor4D {
    if (!given) return initialLatents(shape, generator, this.scheduler.initNoiseSigma);
    if (given.shape.join() !== shape.join()) {
      throw new Error(
        `StableDiffusionPipeline.generate: latents got shape [${given.shape.join(', ')}], expected [${shape.join(', ')}] (batch, height, width, channels).`,
      );
    }
    return tidy(() => mul(given, this.scheduler.initNoiseSigma));
  }
}

/** Repeats each entry of the batch n times in place: a, a, b, b. */
function repeatEach(embeds: Tensor3D, n: number): Tensor3D {
  const [batch, length, width] = embeds.shape;
  return tidy(() =>
    reshape(tile(reshape(embeds, [batch, 1, length, width]), [1, n, 1, 1]), [batch * n, length, width]),
  );
}

function checkedPrompts(prompt: string | readonly string[], numImagesPerPrompt: number): readonly string[] {
  const prompts = typeof prompt === 'string' ? [prompt] : prompt;
  if (prompts.length === 0)
    throw new Error('StableDiffusionPipeline.generate: prompt got an empty list, expected at least one prompt.');
  if (!Number.isInteger(numImagesPerPrompt) || numImagesPerPrompt < 1) {
    throw new Error(
      `StableDiffusionPipeline.generate: numImagesPerPrompt got ${numImagesPerPrompt}, expected a positive integer.`,
    );
  }
  return prompts;
}

function pairedNegatives(negative: string | readonly string[] = '', count: number): readonly string[] {
  if (typeof negative === 'string') return Array.from({ length: count }, () => negative);
  if (negative.length === count) return negative;
  throw new Error(
    `StableDiffusionPipeline.generate: negativePrompt got ${negative.length} texts for ${count} prompts. Pass one text for all, or one a prompt.`,
  );
}

const expectedClasses = {
  text_encoder: 'CLIPTextModel',
  tokenizer: 'CLIPTokenizer',
  unet: 'UNet2DConditionModel',
  vae: 'AutoencoderKL',
} as const;

/** A folder of another kind (SDXL, a lone UNet) is refused here, not by a missing key later. */
async function checkModelIndex(source: FileSource): Promise<void> {
  const index = (await readJson(source, 'model_index.json')) as Record<string, readonly [string, string] | string>;
  const wrong = Object.entries(expectedClasses).filter(([part, name]) => index[part]?.[1] !== name);
  if (wrong.length === 0) return;
  const list = wrong.map(([part, name]) => `${part} got ${index[part]?.[1] ?? 'nothing'}, expected ${name}`).join('; ');
  throw new Error(
    `StableDiffusionPipeline: ${source.location}/model_index.json: ${list}. Only Stable Diffusion 1.x and 2.x pipelines are supported.`,
  );
}
