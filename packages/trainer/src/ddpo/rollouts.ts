import { tensor1d } from '@tensorflow/tfjs-core';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { RewardContext } from '@alignprop/rewards/interface';
import type { Collective } from '../collective/collective.js';
import { samplingOptions } from '../gradient/walk-down.js';
import { TensorScope } from '../gradient/tensor-scope.js';
import type { Logger } from '../logger.js';
import { NonFiniteError } from '../optim/non-finite.js';
import type { Generators } from '../step/generators.js';
import type { ImageSamples } from '../step/image-samples.js';
import type { MicroBatches } from '../step/micro-batch.js';
import type { DDPOConfig } from './ddpo-config.js';
import { RewardError, type RewardCalls } from './reward-calls.js';
import { drawSamples, type Sample, type SampledBatch } from './samples.js';

/** An image, its denoising chain, and its reward. */
export interface JudgedSample {
  readonly sample: Sample;
  readonly reward: number;
  /** The named terms of the reward. */
  readonly terms: Readonly<Record<string, number>>;
}

/** The images that a process draws in an epoch. */
export interface Rollout {
  /** The images of each batch: none of a batch whose reward failed. */
  readonly batches: readonly (readonly JudgedSample[])[];
  /** The number of images whose reward failed. */
  readonly failedImages: number;
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
  reward: RewardCalls<M>;
  collective: Collective;
  logger: Logger;
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
   * @param showSamples undefined where no images are shown
   * @throws NonFiniteError for a log-probability or a reward; RewardError, unless failed rewards are skipped; the
   *   signal's reason, between denoising steps and between calls of the reward
   */
  async draw(context: RewardContext, showSamples: ShowSamples<M> | undefined, signal?: AbortSignal): Promise<Rollout> {
    const { sample_num_batches_per_epoch: count, async_reward_computation: isConcurrent } = this.#options.config;
    const pending: Promise<readonly JudgedSample[]>[] = [];
    let drawn = 0;
    for (let i = 0; i < count; i++) {
      const batch = await this.#drawBatch(context.epoch * count + i, signal);
      drawn += batch.samples.length;
      const judged = this.#judge(batch, context, i === count - 1 ? showSamples : undefined, signal);
      pending.push(judged);
      judged.catch(() => {}); // thrown below
      if (!isConcurrent) await judged;
    }
    const batches = await Promise.all(pending);
    const samples = batches.flat();
    checkFinite(samples, this.#options.reward.name);
    return { batches, failedImages: drawn - samples.length };
  }

  /** @param index the number of batches that this process drew before */
  async #drawBatch(index: number, signal?: AbortSignal): Promise<DrawnBatch<M>> {
    const { config, pipeline, batches, generators, collective } = this.#options;
    const scope = new TensorScope();
    const firstImage = (index * collective.size + collective.rank) * config.sample_batch_size;
    const { promptMetadata, ...texts } = await batches.drawPrompts(firstImage);
    try {
      const embeds = scope.own(await batches.encode({ promptMetadata, ...texts })); // [B, L, D]
      const latents = scope.own(await batches.drawLatents()); // x_T [B, h, w, C]
      const inputs = { ...texts, ...embeds, latents, noise: generators.noise, plan: batches.drawPlan(), signal };
      return { ...(await drawSamples(pipeline, samplingOptions(config), inputs)), promptMetadata };
    } finally {
      scope.dispose();
    }
  }

  /** Rewards the images of a batch, and frees them. @returns none if the reward failed and is skipped */
  async #judge(
    { samples, images, promptMetadata }: DrawnBatch<M>,
    context: RewardContext,
    showSamples: ShowSamples<M> | undefined,
    signal: AbortSignal | undefined,
  ): Promise<readonly JudgedSample[]> {
    const { config, reward, logger } = this.#options;
    const prompts = samples.map(({ prompt }) => prompt);
    const scope = new TensorScope();
    scope.own(images);
    try {
      const { scores, terms } = await reward.score(images, prompts, promptMetadata, context, signal);
      if (showSamples)
        await showSamples({ images, prompts, promptMetadata, rewards: scope.own(tensor1d([...scores])) });
      return samples.map((sample, i) => ({ sample, reward: scores[i]!, terms: termsOf(terms, i) }));
    } catch (error) {
      if (!(error instanceof RewardError) || config.on_reward_error === 'stop') throw error;
      const count = samples.length === 1 ? 'The image is' : `The ${samples.length} images of this batch are`;
      logger.warn(`${error.message} ${count} left out of epoch ${context.epoch}.`);
      return [];
    } finally {
      scope.dispose();
    }
  }
}

const termsOf = (terms: Readonly<Record<string, ArrayLike<number>>>, image: number): Record<string, number> =>
  Object.fromEntries(Object.entries(terms).map(([name, values]) => [name, values[image]!]));

function checkFinite(samples: readonly JudgedSample[], rewardName: string): void {
  for (const [i, { sample, reward }] of samples.entries()) {
    const step = sample.logProbs.findIndex((value) => !Number.isFinite(value));
    const what = step >= 0 ? `log-probability of denoising step ${step}` : `score of ${rewardName}`;
    const value = step >= 0 ? sample.logProbs[step]! : reward;
    if (!Number.isFinite(value)) {
      throw new NonFiniteError(
        `DDPOTrainer: the ${what} for image ${i} ('${sample.prompt}') is ${value}. Nothing was trained on it.`,
      );
    }
  }
}
