import { clone, dispose, type Tensor, type Tensor2D, type Tensor4D } from '@tensorflow/tfjs-core';
import { checkOptions, optionNames, type Compiled, type Engine, type Precision } from '@alignprop/autograd-ext';
import type { FileSource } from '@alignprop/autograd-ext/weights';
import type { CLIPTextModel, CLIPTextModelWithProjection } from '../clip/text-model.js';
import type { CLIPTokenizer, Encoded } from '../clip/tokenizer.js';
import { toUint8 } from '../image/to-uint8.js';
import { pixelsPerLatent, type Autoencoder } from '../models/autoencoder.js';
import type { UNet2DConditionModel } from '../models/unet-2d-condition.js';
import { correctedScheduler } from '../schedulers/create-scheduler.js';
import type { Scheduler } from '../schedulers/scheduler.js';
import { openSingleFile, type FromSingleFileOptions } from '../single-file/open-single-file.js';
import { annealedPrediction, type Annealing } from './annealed.js';
import { startChain } from './chain-start.js';
import { usesGuidance, type Conditioning, type PromptEncoding } from './conditioning.js';
import { denoise, type Denoised, type DenoiseOptions } from './denoise.js';
import { followChain } from './follow-chain.js';
import {
  readOptions,
  type GenerateInput,
  type GenerateOptions,
  type ImageOutput,
  type Prompt,
  type Spelled,
  type TensorOutput,
} from './generate-options.js';
import { imagesOf, type GeneratedImages, type GeneratedTensors } from './generated.js';
import { resolveGeneration, sizeOf, xlOptions, type Generation, type TensorOptions } from './generation.js';
import { guidedPrediction } from './guidance.js';
import { decodeImages } from './image-decoder.js';
import { checkSize } from './image-size.js';
import { ImageEncoder } from './image-encoder.js';
import { initialLatents, type NoiseGenerator } from './latents.js';
import { loadParts, type FromPretrainedOptions, type StableDiffusionParts } from './load-parts.js';
import { modelKind, type ModelKind } from './model-kind.js';
import { modelParams, withModelParams, type ModelParams } from './model-params.js';
import { checkParts } from './part-configs.js';
import { PromptEncoder, type EncodePromptOptions } from './prompt-encoder.js';
import { startImage } from './start-image.js';
import { encodeForImages, truncatedTexts } from './text-conditioning.js';
import { textStages } from './text-stages.js';
import { loadTextualInversion, type TextualInversionOptions, type TokenEmbeddings } from './textual-inversion.js';
import { negativeConditions, timeIdsOf, type MicroConditions } from './time-ids.js';

const partNames = optionNames<StableDiffusionParts>({
  tokenizer: true,
  textEncoder: true,
  tokenizer2: true,
  textEncoder2: true,
  unet: true,
  vae: true,
  scheduler: true,
  engine: true,
  forceZerosForEmptyPrompt: true,
});

/** Size of a batch of images, in pixels. */
interface BatchSize {
  batch: number;
  /** The UNet's sample size by default. */
  height?: number;
  width?: number;
}

/**
 * Generates images from text with Stable Diffusion 1.x, 2.x and XL, and with latent consistency models. Computes the
 * numbers of diffusers' `StableDiffusionPipeline`, `StableDiffusionXLPipeline` and `LatentConsistencyModelPipeline` in
 * float32; has no safety checker.
 */
export class StableDiffusionPipeline implements StableDiffusionParts {
  readonly tokenizer: CLIPTokenizer;
  readonly textEncoder: CLIPTextModel;
  readonly tokenizer2: CLIPTokenizer | undefined;
  readonly textEncoder2: CLIPTextModelWithProjection | undefined;
  readonly unet: UNet2DConditionModel;
  readonly vae: Autoencoder;
  readonly engine: Engine;
  readonly forceZerosForEmptyPrompt: boolean;
  #scheduler: Scheduler;
  readonly #prompts: PromptEncoder;
  readonly #decode: Compiled;
  readonly #images: ImageEncoder;
  /** The compiled UNet by guidance rescale. */
  readonly #predictors = new Map<number, Compiled>();
  /** The same for the weights of `annealed.from`: each compiled function serves one tree of weights. */
  readonly #annealedPredictors = new Map<number, Compiled>();

  /**
   * Corrects the scheduler as diffusers' constructor does: a `steps_offset` becomes 1, and `clip_sample` false. Use
   * `with` to set a scheduler as it is.
   */
  constructor(parts: StableDiffusionParts) {
    ({ tokenizer: this.tokenizer, textEncoder: this.textEncoder, unet: this.unet } = parts);
    ({ tokenizer2: this.tokenizer2, textEncoder2: this.textEncoder2 } = parts);
    ({ vae: this.vae, engine: this.engine } = parts);
    this.forceZerosForEmptyPrompt = parts.forceZerosForEmptyPrompt ?? true;
    this.#scheduler = correctedScheduler(parts.scheduler);
    checkParts(parts);
    this.#prompts = new PromptEncoder(this.engine, textStages(this), this.zeroNegative);
    this.#decode = this.engine.compile(decodeImages(this.vae.config));
    this.#images = new ImageEncoder(this.engine, this.vae);
  }

  /**
   * Loads a diffusers folder: a directory, a hub id (`org/name`), or any `FileSource`.
   * @throws if a file, key or shape does not match the configs, a config or `model_index.json` belongs to another kind
   *   of pipeline, or no model has files of the variant; and the reason of the signal if that is aborted
   */
  static async fromPretrained(
    location: string | FileSource,
    options: FromPretrainedOptions = {},
  ): Promise<StableDiffusionPipeline> {
    return new StableDiffusionPipeline(await loadParts(location, options));
  }

  /**
   * Loads a checkpoint in the layout of the original scripts: Stable Diffusion 1.x, 2.x or XL in one file,
   * `.safetensors` or `.ckpt`. Weights are read where they lie in the file; the non-EMA weights, if there are both.
   * @param location a file, a path of a repository such as `organisation/name/file.safetensors`, or a `FileSource`
   * @throws if it is another kind of file, which it names, or weights are missing or do not fit the configs
   */
  static async fromSingleFile(
    location: string | FileSource,
    options: FromSingleFileOptions = {},
  ): Promise<StableDiffusionPipeline> {
    return new StableDiffusionPipeline(await openSingleFile(location, options));
  }

  /**
   * Returns a pipeline with some parts replaced; the other parts, the engine among them, are shared. A scheduler is
   * taken as it is, like one assigned to `pipe.scheduler` in diffusers.
   */
  with(parts: Partial<StableDiffusionParts>): StableDiffusionPipeline {
    checkOptions('StableDiffusionPipeline.with', parts, partNames);
    const pipeline = new StableDiffusionPipeline({ ...this.#parts, ...parts });
    pipeline.#scheduler = parts.scheduler ?? this.scheduler;
    return pipeline;
  }

  /**
   * Returns a pipeline with other weights in some models; all else is shared.
   * @throws if the pipeline does not have one of them
   */
  withParams(params: ModelParams): StableDiffusionPipeline {
    return this.with(withModelParams(this, params));
  }

  /** The weights of the models that adapters can change: `unet`, `text_encoder`, and for SDXL `text_encoder_2`. */
  get params(): ReturnType<typeof modelParams> {
    return modelParams(this);
  }

  get scheduler(): Scheduler {
    return this.#scheduler;
  }

  /** The processor or library that computes, as the engine names it: `cpu` of ONNX Runtime, a tfjs backend. */
  get device(): string {
    return this.engine.device;
  }

  /** The number format of the engine's matrix products and convolutions; all else is float32, images included. */
  get dtype(): Precision {
    return this.engine.precision;
  }

  /** Whether this is a model of the kind of SDXL. */
  get isXL(): boolean {
    return this.textEncoder2 !== undefined;
  }

  /**
   * Returns a pipeline that knows the token of a textual inversion (arXiv 2208.01618). All other parts are shared.
   * @param source a file or folder in the format of diffusers or A1111, a hub id, a path of a repository, such as
   *   `organisation/name/file.pt`, or embeddings in memory or of another file by token
   * @throws if there is no such file, it has another format, the token exists already, or the embedding is for another
   *   text encoder
   */
  async loadTextualInversion(
    source: string | FileSource | TokenEmbeddings,
    options: TextualInversionOptions = {},
  ): Promise<StableDiffusionPipeline> {
    return this.with(await loadTextualInversion(this, source, options));
  }

  /** The kind of model, with the settings that fit it. */
  get kind(): ModelKind {
    return modelKind(this);
  }

  /** Pixels per latent along one side. */
  get vaeScaleFactor(): number {
    return pixelsPerLatent(this.vae.config);
  }

  /**
   * `[height, width]` in pixels: the UNet's sample size.
   * @throws if the UNet's config has none
   */
  get defaultSize(): readonly [number, number] {
    const { sample_size: size } = this.unet.config;
    if (size === null)
      throw new Error(
        "StableDiffusionPipeline: sample_size of the UNet's config got null, expected the model's size in latents. " +
          'Pass height and width.',
      );
    const [height, width] = typeof size === 'number' ? [size, size] : size;
    return [height * this.vaeScaleFactor, width * this.vaeScaleFactor];
  }

  /** Whether the negative prompt is zeros, and not the encoding of '', where none is given. */
  get zeroNegative(): boolean {
    return this.isXL && this.forceZerosForEmptyPrompt;
  }

  /**
   * Encodes prompts, `[B, L, D]`: the last hidden state of the text encoder, or for SDXL those before the last of both,
   * with the pooled text of the second. Attends to padding, as diffusers does; truncates long prompts unless `chunks`
   * has room for them: `[B, chunks · L, D]`, with the pooled text of the first chunk.
   */
  async encodePrompt(prompts: readonly string[], options: EncodePromptOptions = {}): Promise<PromptEncoding> {
    checkOptions('StableDiffusionPipeline.encodePrompt', options, ['prompts2', 'clipSkip', 'chunks']);
    return this.#prompts.encode(prompts, options);
  }

  /**
   * Encodes negative prompts as `encodePrompt` does.
   * @param prompts undefined for none: zeros for SDXL where it takes these, else the encoding of ''
   */
  async encodeNegativePrompt(
    prompts: readonly string[] | undefined,
    batch: number,
    options: EncodePromptOptions = {},
  ): Promise<PromptEncoding> {
    checkOptions('StableDiffusionPipeline.encodeNegativePrompt', options, ['prompts2', 'clipSkip', 'chunks']);
    return this.#prompts.encodeNegative(prompts, batch, options);
  }

  /** The number of chunks of 75 tokens that hold the longest of the prompts, negative ones included. */
  chunkCount(prompts: readonly string[]): number {
    return this.#prompts.chunkCount(prompts);
  }

  /**
   * SDXL's sizes for images of one size in pixels, by default the UNet's sample size, `[B, 6]`; undefined for other
   * models.
   */
  timeIds(
    { batch, height = this.defaultSize[0], width = this.defaultSize[1] }: BatchSize,
    sizes: MicroConditions = {},
  ): Tensor2D | undefined {
    return this.isXL ? timeIdsOf(sizes, { batch, height, width }) : undefined;
  }

  /**
   * Converts prompts to token ids of the (first) text encoder, with all vectors of textual inversions.
   * @throws if a token has no embedding in the text encoder
   */
  tokenize(prompts: readonly string[]): Encoded {
    return this.#prompts.tokenize(prompts);
  }

  /**
   * Draws x_T, `[B, h, w, C]`, for a chain of `numInferenceSteps`: its standard deviation depends on the chain for some
   * schedulers.
   * @throws if the size is not divisible by 8, or the scheduler has no chain of this length
   */
  prepareLatents({
    generator,
    numInferenceSteps,
    ...size
  }: BatchSize & { generator: NoiseGenerator; numInferenceSteps: number }): Tensor4D {
    return initialLatents(this.latentShape(size), generator, this.scheduler.initNoiseSigma(numInferenceSteps));
  }

  /**
   * Returns the shape of the latents, `[B, h, w, C]`, for a size in pixels.
   * @throws if the size is not divisible by 8 or above 16384, or the batch has more than 2^28 pixels
   */
  latentShape({ batch, height = this.defaultSize[0], width = this.defaultSize[1] }: BatchSize): Tensor4D['shape'] {
    checkSize({ batch, height, width });
    const factor = this.vaeScaleFactor;
    return [batch, Math.floor(height / factor), Math.floor(width / factor), this.unet.config.in_channels];
  }

  /** Runs the denoising chain and yields every step; see `denoise`. */
  denoise(latents: Tensor4D, options: DenoiseOptions): AsyncGenerator<Denoised, void, void> {
    const predict = options.predict ?? this.#predictor(options.guidanceRescale ?? 0);
    return denoise(predict, this.unet, this.scheduler, latents, options);
  }

  /** Decodes latents `[B, h, w, C]` to images `[B, H, W, 3]` in [0, 1]. */
  async decode(latents: Tensor4D): Promise<Tensor4D> {
    const [images] = await this.#decode(this.vae.params, latents);
    return images as Tensor4D;
  }

  /**
   * Encodes images `[B, H, W, 3]` in [0, 1] to latents `[B, h, w, C]`: a sample of the VAE's posterior, with noise of
   * the generator, or as many samples as there are generators, of the images in turn.
   */
  encodeImage(images: Tensor4D, generator: NoiseGenerator): Promise<Tensor4D> {
    return this.#images.encode(images, generator);
  }

  /**
   * Generates images from text, and from an image if one is given. The same seed gives the images that diffusers draws
   * with a generator on the CPU. Returns a list of images that hold their bytes; with `outputType: 'tensor'` returns
   * tensors, which the caller disposes. Disposes its intermediate tensors, also when it throws.
   * @param options the prompt and all other options, under our names or those of diffusers
   * @throws if there is no prompt, an option is unknown, out of range, given in two spellings or belongs to another
   *   kind of model; the reason of the signal once it is aborted
   */
  generate(options: Spelled<GenerateInput> & TensorOutput): Promise<GeneratedTensors>;
  generate(options: Spelled<GenerateInput> & ImageOutput): Promise<GeneratedImages>;
  /** @param prompt one or several prompts, or their encoding, which stays the caller's */
  generate(prompt: Prompt, options: Spelled<GenerateOptions> & TensorOutput): Promise<GeneratedTensors>;
  generate(prompt: Prompt, options?: Spelled<GenerateOptions> & ImageOutput): Promise<GeneratedImages>;
  async generate(
    first: Prompt | Spelled<GenerateInput>,
    more?: Spelled<GenerateOptions>,
  ): Promise<GeneratedTensors | GeneratedImages> {
    const { prompt, options: given, outputType } = readOptions(first, more);
    const intermediates: Tensor[] = [];
    try {
      const options = { ...given, image: startImage(given.image, intermediates) };
      const generation = this.#resolve(prompt, options);
      const latents = await this.#drawLatents(generation, options, intermediates);
      const images = await this.decode(latents);
      const truncated = truncatedTexts(generation, this.#prompts);
      if (outputType === 'tensor') return { images, latents: clone(latents), seed: generation.seed, truncated };
      intermediates.push(images);
      const [, height, width] = images.shape;
      const sampler = this.scheduler.config._class_name as string;
      return imagesOf(await toUint8(images), generation, { sampler, height, width }, truncated);
    } finally {
      dispose(intermediates);
    }
  }

  /** Frees the engine's memory: weights and their layouts. Pipelines made by `with` share the engine. */
  dispose(): void {
    this.engine.dispose();
  }

  get #parts(): StableDiffusionParts {
    const { tokenizer, textEncoder, tokenizer2, textEncoder2, unet, vae, scheduler, engine } = this;
    const { forceZerosForEmptyPrompt } = this;
    return { tokenizer, textEncoder, tokenizer2, textEncoder2, unet, vae, scheduler, engine, forceZerosForEmptyPrompt };
  }

  #resolve(prompt: Prompt, options: TensorOptions): Generation {
    return resolveGeneration(prompt, options, this.scheduler, {
      ...this.kind,
      strength: this.isXL ? 0.3 : 0.8,
      zeroNegative: this.zeroNegative,
      refused: this.isXL ? [] : xlOptions,
    });
  }

  /** Encodes the prompts and runs the chain. Adds every tensor to `intermediates`. */
  async #drawLatents(generation: Generation, options: TensorOptions, intermediates: Tensor[]): Promise<Tensor4D> {
    const { scheduler, unet } = this;
    const [height, width] = sizeOf(options);
    const size = { batch: generation.count * generation.numImagesPerPrompt, height, width };
    const shape = this.latentShape(size);
    const guided = usesGuidance(unet.config, generation.guidanceScale);
    const encoded = await encodeForImages(this.#prompts, generation, guided, intermediates);
    const conditioning = { ...encoded, ...this.#timeIds(size, options, intermediates) };
    const { latents, noise, annealed, onStep, signal } = options;
    const inputs = { scheduler, unet, imageEncoder: this.#images, noise: latents, shape };
    const start = await startChain(inputs, generation);
    intermediates.push(start.latents);
    const { steps } = start;
    const predict = annealed && this.#annealedPredictor(generation.guidanceRescale, annealed, steps.length);
    const chain = this.denoise(start.latents, { ...generation, ...conditioning, steps, predict, noise, signal });
    return followChain(start, chain, onStep, intermediates);
  }

  /** The sizes that SDXL is conditioned on. Adds every tensor to `intermediates`. */
  #timeIds(
    size: BatchSize,
    options: TensorOptions,
    intermediates: Tensor[],
  ): Pick<Conditioning, 'timeIds' | 'negativeTimeIds'> {
    const timeIds = this.timeIds(size, options);
    const negativeSizes = negativeConditions(options);
    const negativeTimeIds = negativeSizes && this.timeIds(size, negativeSizes);
    intermediates.push(...[timeIds, negativeTimeIds].filter((tensor) => tensor !== undefined));
    return { timeIds, negativeTimeIds };
  }

  #annealedPredictor(guidanceRescale: number, annealed: Annealing, total: number): Compiled {
    const from = this.#predictor(guidanceRescale, this.#annealedPredictors);
    return annealedPrediction(this.#predictor(guidanceRescale), from, annealed, total);
  }

  #predictor(guidanceRescale: number, predictors = this.#predictors): Compiled {
    const predictor =
      predictors.get(guidanceRescale) ?? this.engine.compile(guidedPrediction(this.unet.config, { guidanceRescale }));
    predictors.set(guidanceRescale, predictor);
    return predictor;
  }
}
