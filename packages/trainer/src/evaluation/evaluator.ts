import { concat, dispose, type Tensor4D } from '@tensorflow/tfjs-core';
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

/** Images of the held-out prompts, and their rewards. */
export interface Evaluation {
  /** `[prompts · eval_images_per_prompt, H, W, 3]` in [0, 1], grouped by prompt; the caller disposes them. */
  readonly images: Tensor4D;
  /** One per image. */
  readonly rewards: readonly number[];
  /** The mean reward. */
  readonly mean: number;
  /** `pixelDiversity` of the images; undefined with a single image per prompt. */
  readonly diversity?: number;
}

/** The options that all pipelines compared with each other share. */
export interface EvaluatorOptions<M> {
  config: AlignPropConfig;
  /** One or more; choose prompts that are not trained on. */
  prompts: readonly string[];
  /** One per prompt. */
  promptMetadata?: readonly M[];
  /** One per prompt. Where undefined, the prompts take `negative_prompts` of the configuration in turn. */
  negativePrompts?: readonly (string | undefined)[];
  /** It needs no gradient, and may be async. */
  rewardFunction: RewardFunction<M> | BlackBoxReward<M>;
}

export interface EvaluateOptions {
  /** The step and the epoch of the run, for the reward. */
  context?: RewardContext;
  /** Called after the images of each prompt. */
  onImage?: () => void;
  signal?: AbortSignal;
}

/** Draws the prompts with a pipeline and judges the images. @throws the reason of an aborted signal */
export type Evaluate = (pipeline: StableDiffusionPipeline, options?: EvaluateOptions) => Promise<Evaluation>;

/**
 * Returns a function that draws `eval_images_per_prompt` images of each prompt and judges them. It samples as in
 * training, from the seed of the configuration: results of two calls differ only by their pipelines.
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
  const negatives = [config.negative_prompts ?? ''].flat();
  const times = <T>(value: T) => new Array<T>(count).fill(value);
  return async (pipeline, { context = outsideRun, onImage, signal } = {}) => {
    const generator = random(config.seed);
    const images: Tensor4D[] = [];
    const rewards: number[] = [];
    try {
      for (const [i, prompt] of prompts.entries()) {
        const generated = await pipeline.generate(prompt, {
          ...samplingOptions(config),
          ...imageSize(config),
          negativePrompt: negativePrompts?.[i] ?? negatives[i % negatives.length],
          numImagesPerPrompt: count,
          generator,
          signal,
        });
        generated.latents.dispose();
        images.push(generated.images);
        const metadata = times(promptMetadata?.[i] as M);
        const { scores } = await scorer.score(generated.images, times(prompt), metadata, context);
        checkFinite(scores, prompt, rewardName(rewardFunction));
        rewards.push(...scores);
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

function checkFinite(scores: readonly number[], prompt: string, reward: string): void {
  const bad = scores.find((score) => !Number.isFinite(score));
  if (bad !== undefined)
    throw new NonFiniteError(`${reward}: the score of a held-out image ('${prompt}') got ${bad}, expected a number.`);
}
