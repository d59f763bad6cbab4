import type { Tensor4D } from '@tensorflow/tfjs-core';
import { checkOptions, optionNames, random, type TorchGenerator } from '@alignprop/autograd-ext';
import type { Scheduler, Step } from '../schedulers/scheduler.js';
import type { Annealing } from './annealed.js';

/** Options of `StableDiffusionPipeline.generate`. */
export interface GenerateOptions {
  /** One text for all prompts, or a list with one text per prompt; '' by default. */
  negativePrompt?: string | readonly string[];
  /** 50 by default. */
  numInferenceSteps?: number;
  /** 7.5 by default; classifier-free guidance is off at 1 and below. */
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
  /** In pixels, divisible by 8; the UNet's sample size by default. */
  height?: number;
  width?: number;
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
  numInferenceSteps: true,
  guidanceScale: true,
  guidanceRescale: true,
  eta: true,
  seed: true,
  generator: true,
  latents: true,
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
  /** For each prompt the text beyond the text encoder's maximum length; '' if the prompt fits. */
  readonly truncated: readonly string[];
}

/** The settings of one `generate` call: validated, with every default filled in. */
export interface Generation extends Required<
  Pick<GenerateOptions, 'numInferenceSteps' | 'guidanceScale' | 'guidanceRescale' | 'eta' | 'numImagesPerPrompt'>
> {
  readonly prompts: readonly string[];
  /** One text per prompt. */
  readonly negativePrompts: readonly string[];
  readonly seed: number | undefined;
  readonly generator: TorchGenerator;
}

/**
 * Validates the options of `generate` and fills in defaults; draws a seed if one is needed.
 * @throws if an option is unknown, the list of prompts is empty, `numImagesPerPrompt` is not a positive integer, the
 *   negative prompts do not match the prompts, or the scheduler has no chain of this length
 */
export function resolveGeneration(
  prompt: string | readonly string[],
  options: GenerateOptions,
  scheduler: Scheduler,
): Generation {
  checkOptions('StableDiffusionPipeline.generate', options, generateOptionNames);
  const { numInferenceSteps = 50, guidanceScale = 7.5, guidanceRescale = 0, eta = 0, numImagesPerPrompt = 1 } = options;
  const prompts = promptList(prompt, numImagesPerPrompt);
  const negativePrompts = negativePromptList(options.negativePrompt, prompts.length);
  const steps = scheduler.timesteps(numInferenceSteps);
  const drawsNoise = options.latents === undefined || steps.some((step) => scheduler.drawsNoise(step, eta));
  const seed = options.generator || !drawsNoise ? undefined : (options.seed ?? Math.floor(Math.random() * 2 ** 32));
  return {
    prompts,
    negativePrompts,
    numInferenceSteps,
    guidanceScale,
    guidanceRescale,
    eta,
    numImagesPerPrompt,
    seed,
    generator: options.generator ?? random(seed ?? 0),
  };
}

function promptList(prompt: string | readonly string[], numImagesPerPrompt: number): readonly string[] {
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

function negativePromptList(negativePrompt: string | readonly string[] = '', count: number): readonly string[] {
  if (typeof negativePrompt === 'string') return Array.from({ length: count }, () => negativePrompt);
  if (negativePrompt.length === count) return negativePrompt;
  throw new Error(
    `StableDiffusionPipeline.generate: negativePrompt got ${negativePrompt.length} texts for ${count} prompts, ` +
      `expected one text, or ${count}. Pass one text for all prompts, or one text per prompt.`,
  );
}
