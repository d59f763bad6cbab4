import { concat, dispose, type Tensor4D } from '@tensorflow/tfjs-core';
import { random, type Engine } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { RewardFunction } from '@alignprop/rewards';
import type { AlignPropConfig } from '../config/config.js';
import { pixelDiversity } from './diversity.js';
import { rewardScorer } from '../gradient/reward-evaluation.js';
import { meanAndStd } from '../step/statistics.js';
import { imageSize } from '../model/image-size.js';
import { samplingOptions } from '../gradient/walk-down.js';

/** What a pipeline drew for the held-out prompts. */
export interface Evaluation {
  /** `[prompts · eval_images_per_prompt, H, W, 3]` in [0, 1], those of a prompt one after the other; the caller's. */
  readonly images: Tensor4D;
  /** One an image. */
  readonly rewards: readonly number[];
  readonly mean: number;
  /** `pixelDiversity` of the images; undefined where there is one a prompt. */
  readonly diversity?: number;
}

/** What is the same whenever pipelines are compared. */
export interface EvaluatorOptions<M> {
  config: AlignPropConfig;
  /** At least one, best ones that are not trained on. */
  prompts: readonly string[];
  /** One a prompt. */
  promptMetadata?: readonly M[];
  rewardFunction: RewardFunction<M>;
}

export interface EvaluateOptions {
  /** Told after every prompt. */
  onImage?: () => void;
  signal?: AbortSignal;
}

/** Draws and judges. @throws the signal's reason */
export type Evaluate = (pipeline: StableDiffusionPipeline, options?: EvaluateOptions) => Promise<Evaluation>;

/**
 * Makes a function that draws each prompt, `eval_images_per_prompt` times, sampled as in training and always from the
 * configuration's seed, and judges it: two calls differ by their pipelines only.
 * @param engine runs the reward; that of the pipelines
 * @throws if there is no prompt
 */
export function evaluator<M = undefined>(
  engine: Engine,
  { config, prompts, promptMetadata, rewardFunction }: EvaluatorOptions<M>,
): Evaluate {
  if (prompts.length === 0) throw new Error('evaluator: prompts got none, expected at least one.');
  const score = rewardScorer(engine, rewardFunction);
  const { eval_images_per_prompt: count } = config;
  const times = <T>(value: T) => new Array<T>(count).fill(value);
  return async (pipeline, { onImage, signal } = {}) => {
    const generator = random(config.seed);
    const images: Tensor4D[] = [];
    const rewards: number[] = [];
    try {
      for (const [i, prompt] of prompts.entries()) {
        const made = await pipeline.generate(prompt, {
          ...generationOptions(config),
          numImagesPerPrompt: count,
          generator,
          signal,
        });
        made.latents.dispose();
        images.push(made.images);
        rewards.push(...(await score(made.images, times(prompt), times(promptMetadata?.[i] as M))));
        onImage?.();
      }
      const all = concat(images);
      const diversity = count > 1 ? await pixelDiversity(all, count) : undefined;
      return { images: all, rewards, mean: meanAndStd(rewards).mean, diversity };
    } finally {
      dispose(images);
    }
  };
}

const generationOptions = (config: AlignPropConfig) => ({
  ...samplingOptions(config),
  negativePrompt: [config.negative_prompts ?? ''].flat()[0],
  ...imageSize(config),
});
