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
  checkOptions,
  createEngine,
  ensureBackend,
  optionNames,
  type Compiled,
  type Engine,
  type TorchGenerator,
} from '@alignprop/autograd-ext';
import {
  hubOptionNames,
  readJson,
  resolveSource,
  subfolder as openSubfolder,
  type FileSource,
  type HubOptions,
} from '@alignprop/autograd-ext/weights';
import { clipText, CLIPTextModel } from '../clip/text-model.js';
import { CLIPTokenizer, type Encoded } from '../clip/tokenizer.js';
import { autoencoders, pixelsPerLatent, type Autoencoder, type AutoencoderClass } from '../models/autoencoder.js';
import { UNet2DConditionModel } from '../models/unet-2d-condition.js';
import { correctedScheduler, folderScheduler } from '../schedulers/create-scheduler.js';
import type { Scheduler } from '../schedulers/scheduler.js';
import { annealedPrediction, type Annealing } from './annealed.js';
import { denoise, type Denoised, type DenoiseOptions } from './denoise.js';
import { resolveGeneration, type Generated, type GenerateOptions, type Generation } from './generation.js';
import { guidedPrediction } from './guidance.js';
import { decodeImages } from './image-decoder.js';
import { initialLatents } from './latents.js';
import { classOf, readModelIndex } from './model-index.js';
import { checkLength, checkPartConfigs, checkSizes } from './part-configs.js';
import { partVariants } from './part-variants.js';
import { expandPrompt } from './prompt-expansion.js';
import { loadTextualInversion, type TextualInversionOptions, type TokenEmbeddings } from './textual-inversion.js';

/** The parts of a pipeline; see `StableDiffusionPipeline.with`. */
export interface StableDiffusionParts {
  tokenizer: CLIPTokenizer;
  textEncoder: CLIPTextModel;
  unet: UNet2DConditionModel;
  vae: Autoencoder;
  scheduler: Scheduler;
  engine: Engine;
}

/** Options of `StableDiffusionPipeline.fromPretrained`; those of the hub are used for a hub id. */
export interface FromPretrainedOptions extends HubOptions {
  /** The folder of the pipeline inside the location. */
  subfolder?: string;
  /**
   * Variant of the weight files, e.g. 'fp16' for `diffusion_pytorch_model.fp16.safetensors`. Models without such files
   * are loaded from their plain files.
   */
  variant?: string;
  /** The fastest installed engine by default; see `createEngine`. */
  engine?: Engine;
  /** Replaces the scheduler of the folder, whose file is not read then; corrected as the constructor does. */
  scheduler?: Scheduler;
  /**
   * Called with what diffusers warns of (a variant that some models lack, a hub that does not answer), and with the
   * reason if the slower engine is chosen.
   */
  onWarning?: (message: string) => void;
}

const fromPretrainedOptionNames = [
  ...optionNames<Omit<FromPretrainedOptions, keyof HubOptions>>({
    subfolder: true,
    variant: true,
    engine: true,
    scheduler: true,
  }),
  ...hubOptionNames,
];
const partNames = optionNames<StableDiffusionParts>({
  tokenizer: true,
  textEncoder: true,
  unet: true,
  vae: true,
  scheduler: true,
  engine: true,
});

/** Size of a batch of images, in pixels. */
interface BatchSize {
  batch: number;
  /** The UNet's sample size by default. */
  height?: number;
  width?: number;
}

/** The embeddings of a batch, one row per image: `[B, L, D]` each. */
interface TextConditioning {
  readonly promptEmbeds: Tensor3D;
  /** Undefined without classifier-free guidance. */
  readonly negativePromptEmbeds: Tensor3D | undefined;
}

/**
 * Generates images from text with Stable Diffusion 1.x and 2.x. Computes the same numbers as diffusers'
 * `StableDiffusionPipeline` in float32; has no safety checker.
 */
export class StableDiffusionPipeline implements StableDiffusionParts {
  readonly tokenizer: CLIPTokenizer;
  readonly textEncoder: CLIPTextModel;
  readonly unet: UNet2DConditionModel;
  readonly vae: Autoencoder;
  readonly engine: Engine;
  #scheduler: Scheduler;
  readonly #encode: Compiled;
  readonly #decode: Compiled;
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
    ({ vae: this.vae, engine: this.engine } = parts);
    this.#scheduler = correctedScheduler(parts.scheduler);
    checkLength(this.tokenizer.modelMaxLength, this.textEncoder.config.max_position_embeddings);
    checkSizes('StableDiffusionPipeline: the config of the UNet', {
      unet: this.unet.config,
      vae: this.vae.config,
      textEncoder: this.textEncoder.config,
    });
    const { config } = this.textEncoder;
    this.#encode = this.engine.compile((params, inputIds) => clipText(config, params, inputIds!).lastHiddenState);
    this.#decode = this.engine.compile(decodeImages(this.vae.config));
  }

  /**
   * Loads a diffusers folder: a directory, a hub id (`org/name`), or any `FileSource`.
   * @throws if a file, key or shape does not match the configs, a config or `model_index.json` belongs to another kind
   *   of pipeline, or no model has files of the variant; and the reason of the signal if that is aborted
   */
  static async fromPretrained(
    location: string | FileSource,
    { variant, engine, scheduler, subfolder, ...hubOptions }: FromPretrainedOptions = {},
  ): Promise<StableDiffusionPipeline> {
    checkOptions('StableDiffusionPipeline.fromPretrained', hubOptions, fromPretrainedOptionNames);
    await ensureBackend();
    const { onWarning, signal } = hubOptions;
    const root = await resolveSource(location, hubOptions);
    const source = subfolder ? openSubfolder(root, subfolder) : root;
    const index = await readModelIndex(source);
    const autoencoder = classOf(index, 'vae') as AutoencoderClass;
    await checkPartConfigs(source, autoencoder);
    const variants = await partVariants(source, index, variant, onWarning);
    const options = (part: keyof typeof variants) => ({ subfolder: part, variant: variants[part], signal });
    return new StableDiffusionPipeline({
      tokenizer: await CLIPTokenizer.fromPretrained(source, { subfolder: 'tokenizer', signal }),
      textEncoder: await CLIPTextModel.fromPretrained(source, options('text_encoder')),
      unet: await UNet2DConditionModel.fromPretrained(source, options('unet')),
      vae: await autoencoders[autoencoder].fromPretrained(source, options('vae')),
      scheduler:
        scheduler ??
        folderScheduler(await readJson(source, 'scheduler/scheduler_config.json'), classOf(index, 'scheduler')),
      engine: engine ?? (await createEngine({ ...(onWarning && { onWarning }) })),
    });
  }

  /**
   * Returns a pipeline with some parts replaced; the other parts, the engine among them, are shared. A scheduler is
   * taken as it is, like one assigned to `pipe.scheduler` in diffusers.
   */
  with(parts: Partial<StableDiffusionParts>): StableDiffusionPipeline {
    checkOptions('StableDiffusionPipeline.with', parts, partNames);
    const { tokenizer, textEncoder, unet, vae, scheduler, engine } = this;
    const pipeline = new StableDiffusionPipeline({ tokenizer, textEncoder, unet, vae, scheduler, engine, ...parts });
    pipeline.#scheduler = parts.scheduler ?? scheduler;
    return pipeline;
  }

  get scheduler(): Scheduler {
    return this.#scheduler;
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

  /**
   * Encodes prompts to the text encoder's last hidden state, `[B, L, D]`. Attends to padding, as diffusers does;
   * truncates long prompts.
   */
  async encodePrompt(prompts: readonly string[]): Promise<Tensor3D> {
    return this.#embed(this.tokenize(prompts));
  }

  /**
   * Converts prompts to token ids, with all vectors of textual inversions.
   * @throws if a token has no embedding in the text encoder
   */
  tokenize(prompts: readonly string[]): Encoded {
    const encoded = this.tokenizer.encode(prompts.map((prompt) => expandPrompt(prompt, this.tokenizer)));
    const { vocab_size: rows } = this.textEncoder.config;
    const missing = encoded.inputIds.find((id) => id >= rows);
    if (missing === undefined) return encoded;
    throw new Error(
      `StableDiffusionPipeline: token ${JSON.stringify(this.tokenizer.token(missing))} got id ${missing}, ` +
        `expected one below ${rows}, as the text encoder has embeddings. Take both from the same model.`,
    );
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
  }: BatchSize & { generator: TorchGenerator; numInferenceSteps: number }): Tensor4D {
    return initialLatents(this.latentShape(size), generator, this.scheduler.initNoiseSigma(numInferenceSteps));
  }

  /**
   * Returns the shape of the latents, `[B, h, w, C]`, for a size in pixels.
   * @throws if the size is not divisible by 8
   */
  latentShape({ batch, height = this.defaultSize[0], width = this.defaultSize[1] }: BatchSize): Tensor4D['shape'] {
    for (const [name, size] of Object.entries({ height, width })) {
      if (!Number.isInteger(size) || size <= 0 || size % 8 !== 0) {
        throw new Error(
          `StableDiffusionPipeline: ${name} got ${size}, expected a positive multiple of 8. ` +
            `Try ${Math.max(8, Math.round(size / 8) * 8 || 8)}.`,
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

  /** Runs the denoising chain and yields every step; see `denoise`. */
  denoise(latents: Tensor4D, options: DenoiseOptions): AsyncGenerator<Denoised, void, void> {
    const predict = options.predict ?? this.#predictor(options.guidanceRescale ?? 0);
    return denoise(predict, this.unet.params, this.scheduler, latents, options);
  }

  /** Decodes latents `[B, h, w, C]` to images `[B, H, W, 3]` in [0, 1]. */
  async decode(latents: Tensor4D): Promise<Tensor4D> {
    const [images] = await this.#decode(this.vae.params, latents);
    return images as Tensor4D;
  }

  /**
   * Generates images from text. The same seed gives the images that diffusers draws with a generator on the CPU.
   * Disposes its intermediate tensors, also when it throws.
   * @throws if the list of prompts is empty or an option is out of range; the signal's reason once it is aborted
   */
  async generate(prompt: string | readonly string[], options: GenerateOptions = {}): Promise<Generated> {
    const generation = resolveGeneration(prompt, options, this.scheduler);
    const shape = this.latentShape({
      batch: generation.prompts.length * generation.numImagesPerPrompt,
      height: options.height,
      width: options.width,
    });
    const intermediates: Tensor[] = [];
    try {
      const encoded = this.tokenize(generation.prompts);
      const conditioning = await this.#textConditioning(encoded, generation, intermediates);
      const latents = await this.#generateLatents(shape, conditioning, generation, options, intermediates);
      const images = await this.decode(latents);
      return { images, latents: clone(latents), seed: generation.seed, truncated: encoded.truncated };
    } finally {
      dispose(intermediates);
    }
  }

  /** Frees the engine's memory: weights and their layouts. Pipelines made by `with` share the engine. */
  dispose(): void {
    this.engine.dispose();
  }

  /** Embeds the prompts, and the negative prompts if guidance applies. Adds every tensor to `intermediates`. */
  async #textConditioning(
    encoded: Encoded,
    { negativePrompts, guidanceScale, numImagesPerPrompt }: Generation,
    intermediates: Tensor[],
  ): Promise<TextConditioning> {
    const embedEachImage = async (text: Encoded) => {
      const embeds = await this.#embed(text);
      intermediates.push(embeds);
      const repeated = repeatEach(embeds, numImagesPerPrompt);
      intermediates.push(repeated);
      return repeated;
    };
    return {
      promptEmbeds: await embedEachImage(encoded),
      negativePromptEmbeds: guidanceScale > 1 ? await embedEachImage(this.tokenize(negativePrompts)) : undefined,
    };
  }

  /**
   * Runs the chain from x_T to x_0 and keeps only the newest latents. Adds every tensor to `intermediates`.
   */
  async #generateLatents(
    shape: Tensor4D['shape'],
    conditioning: TextConditioning,
    generation: Generation,
    { latents: noise, annealed, onStep, signal }: GenerateOptions,
    intermediates: Tensor[],
  ): Promise<Tensor4D> {
    const total = this.scheduler.timesteps(generation.numInferenceSteps).length;
    const predict = annealed && this.#annealedPredictor(generation.guidanceRescale, annealed, total);
    let latents = this.#startLatents(noise, shape, generation);
    intermediates.push(latents);
    for await (const denoised of this.denoise(latents, { ...generation, ...conditioning, predict, signal })) {
      denoised.modelOutput.dispose();
      latents.dispose();
      latents = denoised.latents;
      intermediates.push(latents);
      onStep?.({ step: denoised.step, total });
    }
    return latents;
  }

  async #embed({ inputIds, shape }: Encoded): Promise<Tensor3D> {
    const ids = tensor2d(inputIds, shape, 'int32');
    const [embeds] = await this.#encode(this.textEncoder.params, ids);
    ids.dispose();
    return embeds as Tensor3D;
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

  #startLatents(
    noise: Tensor4D | undefined,
    shape: Tensor4D['shape'],
    { generator, numInferenceSteps }: Generation,
  ): Tensor4D {
    const sigma = this.scheduler.initNoiseSigma(numInferenceSteps);
    if (!noise) return initialLatents(shape, generator, sigma);
    if (noise.shape.join() !== shape.join()) {
      throw new Error(
        `StableDiffusionPipeline.generate: latents got shape [${noise.shape.join(', ')}], ` +
          `expected [${shape.join(', ')}] (batch, height, width, channels).`,
      );
    }
    return tidy(() => mul(noise, sigma));
  }
}

/** Repeats each row of the batch n times: a, a, b, b. */
function repeatEach(embeds: Tensor3D, n: number): Tensor3D {
  const [batch, length, width] = embeds.shape;
  return tidy(() =>
    reshape(tile(reshape(embeds, [batch, 1, length, width]), [1, n, 1, 1]), [batch * n, length, width]),
  );
}
