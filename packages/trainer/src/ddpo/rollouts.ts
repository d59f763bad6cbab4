import { tensor1d } from '@tensorflow/tfjs-core';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { RewardContext, RewardScorer } from '@alignprop/rewards/interface';
import { samplingOptions } from '../gradient/walk-down.js';
import { TensorScope } from '../gradient/tensor-scope.js';
import { NonFiniteError } from '../optim/non-finite.js';
import type { Generators } from '../step/generators.js';
import type { ImageSamples } from '../step/image-samples.js';
import type { MicroBatches } from '../step/micro-batch.js';
import type { DDPOConfig } from './ddpo-config.js';
import { drawSamples, type Sample, type SampledBatch } from './samples.js';

/** The images of an epoch. */
export interface Rollout {
  readonly samples: readonly Sample[];
  /** One per sample. */
  readonly rewards: readonly number[];
}

/** A batch that has not been judged yet. */
interface DrawnBatch<M> extends SampledBatch {
  readonly promptMetadata: readonly M[];
}

export interface RolloutsOptions<M> {
  config: DDPOConfig;
  pipeline: StableDiffusionPipeline;
  batches: MicroBatches<M>;
  generators: Generators;
  scorer: RewardScorer<M>;
}

/** Receives the images of an epoch's last batch. */
type ShowSamples<M> = (samples: ImageSamples<M>) => void | Promise<void>;

/** Draws the images of an epoch without a gradient, and rewards them. */
export class Rollouts<M> {
  readonly #options: RolloutsOptions<M>;

  constructor(options: RolloutsOptions<M>) {
    this.#options = options;
  }

  /**
   * Draws and rewards the images of an epoch. With `async_reward_computation` images are drawn while earlier rewards
   * are pending.
   * @throws NonFiniteError for a log-probability or a reward; the signal's reason, between denoising steps
   */
  async draw(context: RewardContext, showSamples: ShowSamples<M>, signal?: AbortSignal): Promise<Rollout> {
    const { sample_num_batches_per_epoch: batches, async_reward_computation: isConcurrent } = this.#options.config;
    const samples: Sample[] = [];
    const pending: Promise<readonly number[]>[] = [];
    for (let i = 0; i < batches; i++) {
      const batch = await this.#drawBatch(context.epoch * batches + i, signal);
      samples.push(...batch.samples);
      const rewards = this.#reward(batch, context, i === batches - 1 ? showSamples : undefined);
      pending.push(rewards);
      rewards.catch(() => {}); // thrown below
      if (!isConcurrent) await rewards;
    }
    const rewards = (await Promise.all(pending)).flat();
    checkFinite(samples, rewards, this.#options.scorer.name);
    return { samples, rewards };
  }

  async #drawBatch(index: number, signal?: AbortSignal): Promise<DrawnBatch<M>> {
    const { config, pipeline, batches, generators } = this.#options;
    const scope = new TensorScope();
    const { promptMetadata, ...texts } = batches.drawPrompts(index * config.sample_batch_size);
    try {
      const embeds = scope.own(await batches.encode({ promptMetadata, ...texts })); // [B, L, D]
      const latents = scope.own(batches.drawLatents()); // x_T [B, h, w, C]
      const inputs = { ...texts, ...embeds, latents, noise: generators.noise, plan: batches.drawPlan(), signal };
      return { ...(await drawSamples(pipeline, samplingOptions(config), inputs)), promptMetadata };
    } finally {
      scope.dispose();
    }
  }

  /** Rewards the images of a batch, and frees them. */
  async #reward(
    { samples, images, promptMetadata }: DrawnBatch<M>,
    context: RewardContext,
    showSamples?: ShowSamples<M>,
  ): Promise<readonly number[]> {
    const prompts = samples.map(({ prompt }) => prompt);
    const scope = new TensorScope();
    scope.own(images);
    try {
      const { scores } = await this.#options.scorer.score(images, prompts, promptMetadata, context);
      const rewards = scope.own(tensor1d([...scores]));
      if (showSamples) await showSamples({ images, prompts, promptMetadata, rewards });
      return scores;
    } finally {
      scope.dispose();
    }
  }
}

function checkFinite(samples: readonly Sample[], rewards: readonly number[], rewardName: string): void {
  samples.forEach(({ prompt, logProbs }, i) => {
    const step = logProbs.findIndex((value) => !Number.isFinite(value));
    const what = step >= 0 ? `log-probability of denoising step ${step}` : `score of ${rewardName}`;
    const value = step >= 0 ? logProbs[step]! : rewards[i]!;
    if (!Number.isFinite(value)) {
      throw new NonFiniteError(
        `DDPOTrainer: the ${what} for image ${i} ('${prompt}') is ${value}. Nothing was trained on it.`,
      );
    }
  });
}
