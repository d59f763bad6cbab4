import type { Tensor2D, Tensor3D, Tensor4D } from '@tensorflow/tfjs-core';
import { checkOptions, type TorchGenerator } from '@alignprop/autograd-ext';
import { excerptJson, record } from '@alignprop/autograd-ext/outside';
import type { RgbImage } from '../image/png.js';
import type { Step } from '../schedulers/scheduler.js';
import type { Annealing } from './annealed.js';
import type { GuidanceInterval, PromptEncoding } from './conditioning.js';
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
  /** The encoding of the negative prompts, `[B, L, D]`, in place of `negativePrompt`. The caller keeps the tensor. */
  negativePromptEmbeds?: Tensor3D;
  /** The pooled encoding of the negative prompts for SDXL, `[B, P]`. */
  negativePooledPromptEmbeds?: Tensor2D;
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
  /** The part of the chain that is guided; see `ChainGuidance`. The whole chain by default. */
  guidanceInterval?: GuidanceInterval;
  /** η of DDIM and TCD in [0, 1], 0 by default. Other schedulers ignore it. */
  eta?: number;
  /**
   * Seeds the noise as `torch.Generator().manual_seed(seed)` does: one seed for the whole batch, or a list with one
   * seed per image, of which each draws the noise of its image alone. Drawn at random, and returned, if neither `seed`
   * nor `generator` is given.
   */
  seed?: number | readonly number[];
  /** Draws the noise of the batch, or a list with one generator per image; takes precedence over `seed`. */
  generator?: TorchGenerator | readonly TorchGenerator[];
  /** Standard normal noise to start from, `[B, h, w, C]`, instead of drawn noise. The caller keeps the tensor. */
  latents?: Tensor4D;
  /** Returns the noise of a step, `[B, h, w, C]`, which is disposed, instead of drawn noise. */
  noise?: (step: Step) => Tensor4D;
  /**
   * An image to start from in place of noise, or one per prompt, with sides divisible by 8; diffusers'
   * `StableDiffusionImg2ImgPipeline`. Bytes, such as an image that was generated, or a tensor `[1, H, W, 3]` in [0, 1],
   * which the caller keeps. The images have its size.
   */
  image?: Tensor4D | RgbImage | readonly RgbImage[];
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
  /** Called after every step, and awaited. It may stop the chain: see `StepProgress`. */
  onStep?: (progress: StepProgress) => unknown;
  /** Stops the generation between two steps: `generate` throws its reason. */
  signal?: AbortSignal;
}

/** Options of `generate` with the prompt among them. */
export interface GenerateInput extends GenerateOptions {
  /** One or several prompts. */
  prompt?: string | readonly string[];
  /** The encoding of the prompts, `[B, L, D]`, in place of `prompt`. The caller keeps the tensor. */
  promptEmbeds?: Tensor3D;
  /** The pooled encoding of the prompts for SDXL, `[B, P]`. */
  pooledPromptEmbeds?: Tensor2D;
}

/** The argument of `onStep`. */
export interface StepProgress {
  /** The number of the step in this chain, from 0 to `total - 1`. */
  readonly index: number;
  /** The number of steps of this chain. */
  readonly total: number;
  /** The timestep that the UNet was called with. */
  readonly t: number;
  /**
   * x_{t-1}, `[B, h, w, C]`. It belongs to the pipeline, which frees it: read it before `onStep` returns, or before the
   * promise that it returns is resolved, and clone what is needed later.
   */
  readonly latents: Tensor4D;
  /** The scheduler's step. */
  readonly step: Step;
  /** Ends the chain after this step: `generate` returns the images of the latents so far. */
  readonly stop: () => void;
}

/** Prompts to draw, or their encoding, such as one with weighted words. */
export type Prompt = string | readonly string[] | PromptEncoding;

/** The options by name, with the name that diffusers' pipelines have for them where that is spelled otherwise. */
const spellings = {
  prompt: undefined,
  promptEmbeds: 'prompt_embeds',
  pooledPromptEmbeds: 'pooled_prompt_embeds',
  negativePrompt: 'negative_prompt',
  prompt2: 'prompt_2',
  negativePrompt2: 'negative_prompt_2',
  negativePromptEmbeds: 'negative_prompt_embeds',
  negativePooledPromptEmbeds: 'negative_pooled_prompt_embeds',
  clipSkip: 'clip_skip',
  longPrompts: undefined,
  originalSize: 'original_size',
  cropsCoordsTopLeft: 'crops_coords_top_left',
  targetSize: 'target_size',
  negativeOriginalSize: 'negative_original_size',
  negativeCropsCoordsTopLeft: 'negative_crops_coords_top_left',
  negativeTargetSize: 'negative_target_size',
  numInferenceSteps: 'num_inference_steps',
  guidanceScale: 'guidance_scale',
  guidanceRescale: 'guidance_rescale',
  guidanceInterval: undefined,
  eta: undefined,
  seed: undefined,
  generator: undefined,
  latents: undefined,
  noise: undefined,
  image: undefined,
  strength: undefined,
  height: undefined,
  width: undefined,
  numImagesPerPrompt: 'num_images_per_prompt',
  annealed: undefined,
  onStep: undefined,
  signal: undefined,
  outputType: 'output_type',
} as const satisfies Readonly<Record<keyof GenerateInput | 'outputType', string | undefined>>;

type Spellings = typeof spellings;

/** Options that may also have the names of diffusers, such as `num_inference_steps`; each is given once. */
export type Spelled<O> = O & {
  [K in keyof O & keyof Spellings as Spellings[K] extends string ? Spellings[K] : never]?: O[K];
};

/** Asks `generate` for tensors. */
export type TensorOutput =
  { outputType: 'tensor'; output_type?: undefined } | { outputType?: undefined; output_type: 'tensor' };

/** Asks `generate` for image objects, which it returns by default. */
export type ImageOutput = { outputType?: 'image'; output_type?: 'image' };

/** All options of a call in one spelling, the prompt as text or encoded apart from the others. */
export interface ReadOptions {
  readonly prompt: Prompt;
  readonly options: GenerateOptions;
  readonly outputType: 'image' | 'tensor';
}

/**
 * Reads the arguments of `generate`: all options in one object, or the prompt first.
 * @throws if an option is unknown or given in both spellings, there is no prompt or more than one, or the output is
 *   neither images nor tensors
 */
export function readOptions(first: Prompt | Spelled<GenerateInput>, more?: Spelled<GenerateOptions>): ReadOptions {
  const isPrompt = typeof first !== 'object' || Array.isArray(first) || more !== undefined;
  const given = inOneSpelling(isPrompt ? more : first);
  const { prompt, promptEmbeds, pooledPromptEmbeds, outputType = 'image', ...rest } = given;
  const { negativePromptEmbeds, negativePooledPromptEmbeds, negativePrompt, ...options } = rest;
  if (outputType !== 'image' && outputType !== 'tensor')
    throw new Error(`${owner}: outputType got '${String(outputType)}', expected 'image' or 'tensor'.`);
  const text = onlyOne(
    'the prompt as an argument',
    isPrompt ? (first as Prompt) : undefined,
    'the option prompt',
    prompt,
  );
  const encoded = encodingOf('promptEmbeds', promptEmbeds, pooledPromptEmbeds);
  const negative = encodingOf('negativePromptEmbeds', negativePromptEmbeds, negativePooledPromptEmbeds);
  return {
    prompt: checkedPrompt(onlyOne('a prompt', text, 'promptEmbeds', encoded)),
    options: {
      ...options,
      negativePrompt: onlyOne('negativePrompt', negativePrompt, 'negativePromptEmbeds', negative),
    },
    outputType,
  };
}

/** Whether a prompt was encoded before. */
export const isEncoding = (prompt: unknown): prompt is PromptEncoding =>
  typeof prompt === 'object' && prompt !== null && 'promptEmbeds' in prompt;

const owner = 'StableDiffusionPipeline.generate';

type Given = GenerateInput & { outputType?: unknown };

/** Our names of options by either spelling. */
const ownNames = new Map<string, string>(
  Object.entries(spellings).flatMap(([name, other]) => [[name, name], ...(other ? [[other, name] as const] : [])]),
);

/** @throws if an option is unknown, or given in both spellings */
function inOneSpelling(options: object | null | undefined): Given {
  const given = Object.entries(options ?? {}).filter(([, value]) => value !== undefined);
  const renamed = given.map(([written, value]) => [ownNames.get(written) ?? written, value] as const);
  const entries = record(renamed);
  checkOptions(owner, entries, Object.keys(spellings));
  const twice = Object.keys(entries).filter((name) => renamed.filter(([other]) => other === name).length > 1);
  if (twice.length > 0)
    throw new Error(
      `${owner}: got ${twice.map((name) => `${name} and ${spellings[name as keyof Spellings]}`).join(', ')}, ` +
        'expected one spelling of each option. Leave the other out.',
    );
  return entries;
}

/** @throws if both are given */
function onlyOne<A, B>(name: string, value: A | undefined, otherName: string, other: B | undefined): A | B | undefined {
  if (value === undefined || other === undefined) return value ?? other;
  throw new Error(`${owner}: got both ${name} and ${otherName}, expected one of them. Leave the other out.`);
}

function encodingOf(
  name: 'promptEmbeds' | 'negativePromptEmbeds',
  promptEmbeds: Tensor3D | undefined,
  pooledPromptEmbeds: Tensor2D | undefined,
): PromptEncoding | undefined {
  if (promptEmbeds) return { promptEmbeds, ...(pooledPromptEmbeds && { pooledPromptEmbeds }) };
  if (!pooledPromptEmbeds) return undefined;
  throw new Error(`${owner}: got the pooled encoding alone, expected ${name} with it. Pass what encodePrompt returns.`);
}

/** @throws if there is no prompt, or it has another type */
function checkedPrompt(prompt: Prompt | undefined): Prompt {
  const texts = typeof prompt === 'string' ? [prompt] : prompt;
  if (isEncoding(texts)) return texts;
  if (Array.isArray(texts) && texts.every((text) => typeof text === 'string')) return prompt!;
  const got = prompt === undefined ? 'none' : excerptJson(prompt);
  throw new Error(`${owner}: prompt got ${got}, expected a text, a list of texts, or promptEmbeds.`);
}
