import { concat, dispose, type Tensor4D } from '@tensorflow/tfjs-core';
import { random, type Engine } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { RewardFunction } from '@alignprop/rewards';
import type { AlignPropConfig } from './config.js';
import { rewardScorer } from './judge.js';
import { sizeOf } from './micro-batch.js';

/** What a pipeline drew for the held-out prompts. */
export interface Evaluation {
  /** `[prompts, H, W, 3]` in [0, 1]; the caller's. */
  readonly images: Tensor4D;
  readonly rewards: readonly number[];
  readonly mean: number;
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
  /** Told after every image. */
  onImage?: () => void;
  signal?: AbortSignal;
}

/** Draws and judges. @throws the signal's reason */
export type Evaluate = (pipeline: StableDiffusionPipeline, options?: EvaluateOptions) => Promise<Evaluation>;

/**
 * Makes a function that draws one image a prompt, sampled as in training and always from the configuration's seed, and judges it:
 * two calls differ by their pipelines only.
 * @param engine runs the reward; that of the pipelines
 * @throws if there is no prompt
 */
export function evaluator<M = undefined>(engine: Engine, { config, prompts, promptMetadata, rewardFunction }: EvaluatorOptions<M>): Evaluate {
  if (prompts.length === 0) throw new Error('evaluator: prompts got none, expected at least one.');
  const score = rewardScorer(engine, rewardFunction);
  return async (pipeline, { onImage, signal } = {}) => {
    const generator = random(config.seed);
    const images: Tensor4D[] = [];
    const rewards: number[] = [];
    try {
      for (const [i, prompt] of prompts.entries()) {
        const made = await pipeline.generate(prompt, { ...samplingOptions(config), generator, signal });
        made.latents.dispose();
        images.push(made.images);
        rewards.push(...(await score(made.images, [prompt], [promptMetadata?.[i] as M])));
        onImage?.();
      }
      return { images: concat(images), rewards, mean: rewards.reduce((sum, value) => sum + value, 0) / rewards.length };
    } finally {
      dispose(images);
    }
  };
}

const samplingOptions = (config: AlignPropConfig) => ({
  numInferenceSteps: config.sample_num_steps,
  guidanceScale: config.sample_guidance_scale,
  eta: config.sample_eta,
  negativePrompt: [config.negative_prompts ?? ''].flat()[0],
  ...sizeOf(config),
});
