import { dispose, type Tensor4D } from '@tensorflow/tfjs-core';
import { random, type Engine } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { BlackBoxReward, RewardFunction } from '@alignprop/rewards';
import { outsideRun, rewardName, RewardScorer, type RewardContext } from '@alignprop/rewards/interface';
import type { AlignPropConfig } from '../config/config.js';
import { pixelDiversity } from './diversity.js';
import { NonFiniteError } from '../optim/non-finite.js';
import { meanAndStd } from '../step/statistics.js';
import { imageSize } from '../model/image-size.js';
import { samplingOptions } from '../gradient/walk-down.js';

/** The images of a held-out prompt, and their rewards. Tensors stay the evaluator's; clone what outlives the call. */
export interface EvaluatedImages {
  /** `[eval_images_per_prompt, H, W, 3]` in [0, 1] */
  readonly images: Tensor4D;
  readonly prompt: string;
  /** One per image. */
  readonly rewards: readonly number[];
}

/** The rewards of the held-out prompts. */
export interface Evaluation {
  /** One per image, grouped by prompt. */
  readonly rewards: readonly number[];
  /** The mean reward. */
  readonly mean: number;
  /** The mean `pixelDiversity` of the images of a prompt; undefined with a single image per prompt. */
  readonly diversity?: number;
  /** The share of images that `recognise` recognises. */
  readonly recognised?: number;
}

/** The options of a run's configuration that say how images are drawn for an evaluation. */
export type EvaluatorConfig = Pick<
  AlignPropConfig,
  | 'seed'
  | 'sample_num_steps'
  | 'sample_eta'
  | 'sample_guidance_scale'
  | 'negative_prompts'
  | 'clip_skip'
  | 'height'
  | 'width'
  | 'eval_images_per_prompt'
  | 'eval_num_steps'
  | 'eval_eta'
  | 'eval_guidance_scale'
  | 'eval_negative_prompts'
  | 'eval_height'
  | 'eval_width'
  | 'eval_seed'
> &
  Partial<Pick<AlignPropConfig, 'long_prompts' | 'guidance_interval'>>;

/** The options that all pipelines compared with each other share. */
export interface EvaluatorOptions<M> {
  /** A complete configuration of either trainer. */
  config: EvaluatorConfig;
  /** One or more; choose prompts that are not trained on. */
  prompts: readonly string[];
  /** One per prompt. */
  promptMetadata?: readonly M[];
  /**
   * One per prompt. Where undefined, the prompts take `eval_negative_prompts` of the configuration in turn, or else
   * `negative_prompts`.
   */
  negativePrompts?: readonly (string | undefined)[];
  /** It needs no gradient, and may be async. */
  rewardFunction: RewardFunction<M> | BlackBoxReward<M>;
}

export interface EvaluateOptions {
  /** The step and the epoch of the run, for the reward. */
  context?: RewardContext;
  /** Called with the images of each prompt; the evaluation does not keep them. */
  onImages?: (drawn: EvaluatedImages) => void | Promise<void>;
  /** Tells which of the images of a prompt show it. @param latents of the images, which stay the evaluator's */
  recognise?: (latents: Tensor4D, promptIndex: number) => Promise<readonly boolean[]>;
  signal?: AbortSignal;
}

/** Draws the prompts with a pipeline and judges the images. @throws the reason of an aborted signal */
export type Evaluate = (pipeline: StableDiffusionPipeline, options?: EvaluateOptions) => Promise<Evaluation>;

/**
 * Returns a function that draws `eval_images_per_prompt` images of each prompt and judges them, one prompt after the
 * other: memory does not grow with their number. It samples as in training where the options of the configuration that
 * begin with `eval_` are null, from `eval_seed` or `seed`: results of two calls differ only by their pipelines.
 * @param engine the engine of the pipelines; it also runs the reward
 * @throws if there is no prompt; the returned function, if a score is missing or not finite
 */
export function evaluator<M = undefined>(
  engine: Engine,
  { config, prompts, promptMetadata, negativePrompts, rewardFunction }: EvaluatorOptions<M>,
): Evaluate {
  if (prompts.length === 0) throw new Error('evaluator: prompts got none, expected at least one.');
  const scorer = new RewardScorer(rewardFunction, engine);
  const { eval_images_per_prompt: count } = config;
  const sampling = evaluationSampling(config);
  const negatives = [config.eval_negative_prompts ?? config.negative_prompts ?? undefined].flat();
  const times = <T>(value: T) => new Array<T>(count).fill(value);
  return async (pipeline, { context = outsideRun, onImages, recognise, signal } = {}) => {
    const generator = random(config.eval_seed ?? config.seed);
    const rewards: number[] = [];
    const diversities: number[] = [];
    const recognised: boolean[] = [];
    for (const [i, prompt] of prompts.entries()) {
      const negativePrompt = negativePrompts?.[i] ?? negatives[i % negatives.length];
      const options = { ...sampling, negativePrompt, numImagesPerPrompt: count, generator, signal };
      const { images, latents } = await pipeline.generate(prompt, { ...options, outputType: 'tensor' });
      try {
        const metadata = times(promptMetadata?.[i] as M);
        const { scores } = await scorer.score(images, times(prompt), metadata, context);
        checkFinite(scores, prompt, rewardName(rewardFunction));
        rewards.push(...scores);
        if (count > 1) diversities.push(await pixelDiversity(images, count));
        if (recognise) recognised.push(...(await recognise(latents, i)));
        await onImages?.({ images, prompt, rewards: scores });
      } finally {
        dispose([images, latents]);
      }
    }
    return {
      rewards,
      mean: meanAndStd(rewards).mean,
      ...(count > 1 && { diversity: meanAndStd(diversities).mean }),
      ...(recognise && { recognised: meanAndStd(recognised.map(Number)).mean }),
    };
  };
}

/** The sampling options of evaluations. */
const evaluationSampling = (config: EvaluatorConfig) => ({
  ...samplingOptions({
    sample_num_steps: config.eval_num_steps ?? config.sample_num_steps,
    sample_eta: config.eval_eta ?? config.sample_eta,
    sample_guidance_scale: config.eval_guidance_scale ?? config.sample_guidance_scale,
    guidance_interval: config.guidance_interval,
  }),
  clipSkip: config.clip_skip,
  longPrompts: config.long_prompts,
  ...imageSize({ height: config.eval_height ?? config.height, width: config.eval_width ?? config.width }),
});

function checkFinite(scores: readonly number[], prompt: string, reward: string): void {
  const bad = scores.find((score) => !Number.isFinite(score));
  if (bad !== undefined)
    throw new NonFiniteError(`${reward}: the score of a held-out image ('${prompt}') got ${bad}, expected a number.`);
}
