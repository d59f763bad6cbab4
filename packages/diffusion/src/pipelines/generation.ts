import type { Tensor4D } from '@tensorflow/tfjs-core';
import { random, type TorchGenerator } from '@alignprop/autograd-ext';
import type { Scheduler } from '../schedulers/scheduler.js';
import { checkInterval, type GuidanceInterval, type PromptEncoding } from './conditioning.js';
import { isEncoding, type GenerateOptions, type Prompt } from './generate-options.js';

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
  readonly guidanceInterval: GuidanceInterval | undefined;
  /** The number of prompts. */
  readonly count: number;
  readonly prompt: PromptTexts | PromptEncoding;
  /** Undefined for the zeros that SDXL takes where no negative prompt is given. */
  readonly negativePrompt: PromptTexts | PromptEncoding | undefined;
  readonly image: Tensor4D | undefined;
  /** One for the batch, or one per image; undefined where a generator was given, or nothing is drawn. */
  readonly seed: number | readonly number[] | undefined;
  readonly generator: TorchGenerator | readonly TorchGenerator[];
}

/** The options with the image to start from as a tensor. */
export type TensorOptions = Omit<GenerateOptions, 'image'> & { image?: Tensor4D };

/** The defaults of `generate`, which depend on the kind of model. */
export interface GenerationDefaults extends Pick<Generation, 'numInferenceSteps' | 'guidanceScale' | 'strength'> {
  /** Whether the negative prompt is zeros, and not the empty text, by default. */
  readonly zeroNegative: boolean;
  /** The names of the options that the model does not have. */
  readonly refused: readonly (keyof GenerateOptions)[];
}

/**
 * Validates the options of `generate` and fills in defaults; draws a seed if one is needed.
 * @throws if the model does not have an option, the list of prompts is empty, `numImagesPerPrompt` is not a positive
 *   integer, the negative prompts do not match the prompts, seeds or generators do not match the images, or the
 *   scheduler has no chain of this length
 */
export function resolveGeneration(
  prompt: Prompt,
  options: TensorOptions,
  scheduler: Scheduler,
  defaults: GenerationDefaults,
): Generation {
  checkRefused(options, defaults);
  const { guidanceRescale = 0, eta = 0, numImagesPerPrompt = 1, clipSkip = 0, longPrompts = false } = options;
  const { numInferenceSteps = defaults.numInferenceSteps, guidanceScale = defaults.guidanceScale } = options;
  checkCount('numImagesPerPrompt', numImagesPerPrompt, 1);
  checkCount('clipSkip', clipSkip, 0);
  checkInterval(options.guidanceInterval);
  const texts = isEncoding(prompt) ? prompt : promptTexts('prompt', prompt, options.prompt2);
  const count = isEncoding(texts) ? texts.promptEmbeds.shape[0] : texts.prompts.length;
  const { image, strength = defaults.strength } = options;
  checkImage(options, strength, count);
  const steps = scheduler.timesteps(numInferenceSteps);
  const drawsNoise =
    options.latents === undefined || image !== undefined || steps.some((step) => scheduler.drawsNoise(step, eta));
  const perImage = count * numImagesPerPrompt;
  checkPerImage('seed', options.seed, perImage);
  checkPerImage('generator', options.generator, perImage);
  const seed = options.generator || !drawsNoise ? undefined : (options.seed ?? Math.floor(Math.random() * 2 ** 32));
  return {
    count,
    prompt: texts,
    negativePrompt: negativeOf(options, count, defaults),
    numInferenceSteps,
    guidanceScale,
    guidanceRescale,
    guidanceInterval: options.guidanceInterval,
    eta,
    numImagesPerPrompt,
    clipSkip,
    longPrompts,
    image,
    strength,
    seed,
    generator: options.generator ?? (typeof seed === 'object' ? seed.map(random) : random(seed ?? 0)),
  };
}

/** The size of the images in pixels, where the options give it: that of the image that is started from. */
export function sizeOf({ image, height, width }: TensorOptions): readonly [height?: number, width?: number] {
  return image ? [image.shape[1], image.shape[2]] : [height, width];
}

/** @throws if the image has another shape than the options say, or the strength is out of range */
function checkImage({ image, strength: given, height, width }: TensorOptions, strength: number, count: number): void {
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

function checkRefused(options: TensorOptions, { refused }: GenerationDefaults): void {
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

/** @throws if there is a list, and it does not have as many elements as there are images */
function checkPerImage(name: 'seed' | 'generator', value: object | number | undefined, images: number): void {
  if (!Array.isArray(value) || value.length === images) return;
  throw new Error(
    `${owner}: ${name} got a list of ${value.length} for ${images} image${images === 1 ? '' : 's'}, ` +
      `expected one ${name}, or ${images} of them. Pass one ${name} per image: of each prompt, numImagesPerPrompt.`,
  );
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
  { negativePrompt, negativePrompt2 }: TensorOptions,
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
