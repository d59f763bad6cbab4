import { concat, dispose, type Tensor4D } from '@tensorflow/tfjs-core';
import { random } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { RewardFunction } from '@alignprop/rewards';
import type { AlignPropConfig } from '@alignprop/trainer';

export interface Evaluation {
  /** `[prompts, H, W, 3]` in [0, 1]; the caller's. */
  readonly images: Tensor4D;
  readonly rewards: readonly number[];
  readonly mean: number;
}

export interface EvaluationOptions {
  config: AlignPropConfig;
  prompts: readonly string[];
  reward: RewardFunction;
  /** Told after every image. */
  onImage?: () => void;
  signal?: AbortSignal;
}

/** Draws one image a prompt, sampled as in training from the configuration's seed, and judges it: two calls differ by their pipeline only. */
export async function evaluate(pipeline: StableDiffusionPipeline, { config, prompts, reward, onImage, signal }: EvaluationOptions): Promise<Evaluation> {
  const generator = random(config.seed);
  const images: Tensor4D[] = [];
  const rewards: number[] = [];
  try {
    for (const prompt of prompts) {
      const made = await pipeline.generate(prompt, { ...samplingOptions(config), generator, signal });
      made.latents.dispose();
      images.push(made.images);
      const judged = reward(made.images, [prompt], [undefined]);
      rewards.push(...(await judged.data()));
      judged.dispose();
      onImage?.();
    }
    return { images: concat(images), rewards, mean: rewards.reduce((sum, value) => sum + value, 0) / rewards.length };
  } finally {
    dispose(images);
  }
}

const samplingOptions = ({ sample_num_steps, sample_guidance_scale, sample_eta, negative_prompts, height, width }: AlignPropConfig) => ({
  numInferenceSteps: sample_num_steps,
  guidanceScale: sample_guidance_scale,
  eta: sample_eta,
  negativePrompt: [negative_prompts ?? ''].flat()[0],
  height: height ?? undefined,
  width: width ?? undefined,
});
