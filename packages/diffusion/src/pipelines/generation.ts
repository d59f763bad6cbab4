import type { Tensor4D } from '@tensorflow/tfjs-core';
import { checkOptions, optionNames, random, type TorchGenerator } from '@alignprop/autograd-ext';
import type { Scheduler, Step } from '../schedulers/scheduler.js';
import type { Annealing } from './annealed.js';
import type { PromptEncoding } from './conditioning.js';
import type { MicroConditions } from './time-ids.js';

/** Options of `StableDiffusionPipeline.generate`. */
export interface GenerateOptions extends MicroConditions {
  /**
   * One text for all prompts, a list with one text per prompt, or the encoding of such texts; '' by default. SDXL
   * models that force zeros for an empty prompt take zeros by default.
   */
  negativePrompt?: string | readonly string[] | PromptEncoding;
  /** The prompts of SDXL's second text encoder, in the form of the prompt; those of the first by default. */
  prompt2?: string | readonly string[];
  /** The same for the negative prompt. */
  negativePrompt2?: string | readonly string[];
  /** Leaves out the last layers of the text encoder, as A1111's "CLIP skip" less 1 does; 0 by default. */
  clipSkip?: number;
  /**
   * Encodes prompts of more than 75 tokens in chunks of 75, each with a start and an end, as A1111 and compel do; false
   * by default, which cuts them off. The negative prompt is padded to as many chunks.
   */
  longPrompts?: boolean;
  /** 50 by default; 4 for latent consistency models, 1 for SD-Turbo and SDXL-Turbo; see `modelKind`. */
  numInferenceSteps?: number;
  /**
   * 7.5 by default, 5 for SDXL, and that of the `modelKind` for few-step models; classifier-free guidance is off at 1
   * and below.
   */
  guidanceScale?: number;
  /** In [0, 1], 0 by default; see `GuidanceOptions`. */
  guidanceRescale?: number;
  /** η of DDIM and TCD in [0, 1], 0 by default. Other schedulers ignore it. */
  eta?: number;
  /**
   * Seeds the noise as `torch.Generator().manual_seed(seed)` does. Drawn at random, and returned, if neither `seed` nor
   * `generator` is given.
   */
  seed?: number;
  /** Draws the noise; takes precedence over `seed`. */
  generator?: TorchGenerator;
  /** Standard normal noise to start from, `[B, h, w, C]`, instead of drawn noise. The caller keeps the tensor. */
  latents?: Tensor4D;
  /** Returns the noise of a step, `[B, h, w, C]`, which is disposed, instead of drawn noise. */
  noise?: (step: Step) => Tensor4D;
  /**
   * An image to start from in place of noise, `[1, H, W, 3]` in [0, 1], or one per prompt, with sides divisible by 8;
   * diffusers' `StableDiffusionImg2ImgPipeline`. The images have its size. The caller keeps the tensor.
   */
  image?: Tensor4D;
  /**
   * The share of the steps that are taken from the image, above 0 up to 1: the more, the less of it is left. 0.8 by
   * default, 0.3 for SDXL.
   */
  strength?: number;
  /** In pixels, divisible by 8; the image's or the UNet's sample size by default. */
  height?: number;
  width?: number;
  /** SDXL's sizes for the negative prompt; those of the prompt by default, or if one of its sizes is missing. */
  negativeOriginalSize?: MicroConditions['originalSize'];
  negativeCropsCoordsTopLeft?: MicroConditions['cropsCoordsTopLeft'];
  negativeTargetSize?: MicroConditions['targetSize'];
  /** 1 by default. */
  numImagesPerPrompt?: number;
  /** Starts from the predictions of other UNet weights, such as the weights without an adapter; see `Annealing`. */
  annealed?: Annealing;
  /** Called after every step. */
  onStep?: (progress: { readonly step: Step; readonly total: number }) => void;
  /** Stops the generation between two steps. */
  signal?: AbortSignal;
}

const generateOptionNames = optionNames<GenerateOptions>({
  negativePrompt: true,
  prompt2: true,
  negativePrompt2: true,
  clipSkip: true,
  longPrompts: true,
  originalSize: true,
  cropsCoordsTopLeft: true,
  targetSize: true,
  negativeOriginalSize: true,
  negativeCropsCoordsTopLeft: true,
  negativeTargetSize: true,
  numInferenceSteps: true,
  guidanceScale: true,
  guidanceRescale: true,
  eta: true,
  seed: true,
  generator: true,
  latents: true,
  noise: true,
  image: true,
  strength: true,
  height: true,
  width: true,
  numImagesPerPrompt: true,
  annealed: true,
  onStep: true,
  signal: true,
});

/** The images of one `generate` call. The caller disposes the tensors. */
export interface Generated {
  /** `[B, H, W, 3]` in [0, 1]; images of the same prompt are adjacent. */
  readonly images: Tensor4D;
  /** x_0, `[B, h, w, C]`. */
  readonly latents: Tensor4D;
  /** The seed of the noise; undefined if a generator was given, or if `latents` was given and no noise is added. */
  readonly seed: number | undefined;
  /** The text of each prompt beyond the text encoder's maximum length; '' if it fits, or with `longPrompts`. */
  readonly truncated: readonly string[];
}

/** Prompts to draw, or their encoding, such as one with weighted words. */
export type Prompt = string | readonly string[] | PromptEncoding;

/** The texts of a batch, one per prompt, for each text encoder. */
export interface PromptTexts {
  readonly prompts: readonly string[];
  readonly prompts2: readonly string[];
}

/** The settings of one `generate` call: validated, with every default filled in. */
export interface Generation extends Required<
  Pick<
    GenerateOptions,
    | 'numInferenceSteps'
    | 'guidanceScale'
    | 'guidanceRescale'
    | 'eta'
    | 'numImagesPerPrompt'
    | 'clipSkip'
    | 'longPrompts'
    | 'strength'
  >
> {
  /** The number of prompts. */
  readonly count: number;
  readonly prompt: PromptTexts | PromptEncoding;
  /** Undefined for the zeros that SDXL takes where no negative prompt is given. */
  readonly negativePrompt: PromptTexts | PromptEncoding | undefined;
  readonly image: Tensor4D | undefined;
  readonly seed: number | undefined;
  readonly generator: TorchGenerator;
}

/** The defaults of `generate`, which depend on the kind of model. */
export interface GenerationDefaults extends Pick<Generation, 'numInferenceSteps' | 'guidanceScale' | 'strength'> {
  /** Whether the negative prompt is zeros, and not the empty text, by default. */
  readonly zeroNegative: boolean;
  /** The names of the options that the model does not have. */
  readonly refused: readonly (keyof GenerateOptions)[];
}

/**
 * Validates the options of `generate` and fills in defaults; draws a seed if one is needed.
 * @throws if an option is unknown or the model does not have it, the list of prompts is empty, `numImagesPerPrompt` is
 *   not a positive integer, the negative prompts do not match the prompts, or the scheduler has no chain of this length
 */
export function resolveGeneration(
  prompt: Prompt,
  options: GenerateOptions,
  scheduler: Scheduler,
  defaults: GenerationDefaults,
): Generation {
  checkOptions(owner, options, generateOptionNames);
  checkRefused(options, defaults);
  const { guidanceRescale = 0, eta = 0, numImagesPerPrompt = 1, clipSkip = 0, longPrompts = false } = options;
  const { numInferenceSteps = defaults.numInferenceSteps, guidanceScale = defaults.guidanceScale } = options;
  checkCount('numImagesPerPrompt', numImagesPerPrompt, 1);
  checkCount('clipSkip', clipSkip, 0);
  const texts = isEncoding(prompt) ? prompt : promptTexts('prompt', prompt, options.prompt2);
  const count = isEncoding(texts) ? texts.promptEmbeds.shape[0] : texts.prompts.length;
  const { image, strength = defaults.strength } = options;
  checkImage(options, strength, count);
  const steps = scheduler.timesteps(numInferenceSteps);
  const drawsNoise =
    options.latents === undefined || image !== undefined || steps.some((step) => scheduler.drawsNoise(step, eta));
  const seed = options.generator || !drawsNoise ? undefined : (options.seed ?? Math.floor(Math.random() * 2 ** 32));
  return {
    count,
    prompt: texts,
    negativePrompt: negativeOf(options, count, defaults),
    numInferenceSteps,
    guidanceScale,
    guidanceRescale,
    eta,
    numImagesPerPrompt,
    clipSkip,
    longPrompts,
    image,
    strength,
    seed,
    generator: options.generator ?? random(seed ?? 0),
  };
}

/** The size of the images in pixels, where the options give it: that of the image that is started from. */
export function sizeOf({ image, height, width }: GenerateOptions): readonly [height?: number, width?: number] {
  return image ? [image.shape[1], image.shape[2]] : [height, width];
}

/** @throws if the image has another shape than the options say, or the strength is out of range */
function checkImage({ image, strength: given, height, width }: GenerateOptions, strength: number, count: number): void {
  if (!(strength > 0 && strength <= 1))
    throw new Error(`${owner}: strength got ${strength}, expected a number above 0 up to 1.`);
  if (!image) {
    if (given !== undefined) throw new Error(`${owner}: strength got ${given} without an image. Pass image.`);
    return;
  }
  const { shape } = image;
  if (shape.length !== 4 || shape[3] !== 3 || ![1, count].includes(shape[0]))
    throw new Error(
      `${owner}: image got shape [${shape.join(', ')}], expected [1, height, width, 3]` +
        `${count > 1 ? `, or ${count} of them, one per prompt` : ''}.`,
    );
  for (const [name, value, own] of [
    ['height', height, shape[1]],
    ['width', width, shape[2]],
  ] as const)
    if (value !== undefined && value !== own)
      throw new Error(`${owner}: ${name} got ${value} for an image of ${own}, expected the same. Resize the image.`);
}

/** The options that only SDXL models have. */
export const xlOptions = [
  'prompt2',
  'negativePrompt2',
  'originalSize',
  'cropsCoordsTopLeft',
  'targetSize',
  'negativeOriginalSize',
  'negativeCropsCoordsTopLeft',
  'negativeTargetSize',
] as const satisfies readonly (keyof GenerateOptions)[];

const owner = 'StableDiffusionPipeline.generate';

/** Whether a prompt was encoded before. */
export const isEncoding = (prompt: Prompt | PromptTexts | undefined): prompt is PromptEncoding =>
  typeof prompt === 'object' && 'promptEmbeds' in prompt;

function checkRefused(options: GenerateOptions, { refused }: GenerationDefaults): void {
  const given = refused.filter((name) => options[name] !== undefined);
  if (given.length === 0) return;
  throw new Error(`${owner}: got ${given.join(', ')}, which only SDXL models have. Leave ${given.join(', ')} out.`);
}

/** The most images of a prompt in a batch, which take memory at once; and more than there are layers to skip. */
const MAX_COUNT = 10_000;

function checkCount(name: string, value: number, least: number): void {
  if (Number.isInteger(value) && value >= least && value <= MAX_COUNT) return;
  const expected = least ? 'a positive integer' : 'an integer, at least 0';
  throw new Error(`${owner}: ${name} got ${value}, expected ${expected}, at most ${MAX_COUNT}.`);
}

function promptTexts(
  name: string,
  prompt: string | readonly string[],
  second: string | readonly string[] | undefined,
): PromptTexts {
  const prompts = typeof prompt === 'string' ? [prompt] : prompt;
  if (prompts.length === 0) throw new Error(`${owner}: ${name} got an empty list, expected at least one prompt.`);
  return { prompts, prompts2: second === undefined ? prompts : perPrompt(`${name}2`, second, prompts.length) };
}

function negativeOf(
  { negativePrompt, negativePrompt2 }: GenerateOptions,
  count: number,
  { zeroNegative }: GenerationDefaults,
): Generation['negativePrompt'] {
  if (isEncoding(negativePrompt)) return negativePrompt;
  if (negativePrompt === undefined && zeroNegative) return undefined;
  const texts = perPrompt('negativePrompt', negativePrompt ?? '', count);
  return promptTexts('negativePrompt', texts, negativePrompt2);
}

function perPrompt(name: string, texts: string | readonly string[], count: number): readonly string[] {
  if (typeof texts === 'string') return Array.from({ length: count }, () => texts);
  if (texts.length === count) return texts;
  throw new Error(
    `${owner}: ${name} got ${texts.length} texts for ${count} prompts, ` +
      `expected one text, or ${count}. Pass one text for all prompts, or one text per prompt.`,
  );
}
