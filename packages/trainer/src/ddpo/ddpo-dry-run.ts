import { dispose } from '@tensorflow/tfjs-core';
import type { BlackBoxReward, RewardFunction } from '@alignprop/rewards';
import { RewardScorer } from '@alignprop/rewards/interface';
import { singleProcess } from '../collective/collective.js';
import { full } from '../estimators/draft.js';
import { silent } from '../logger.js';
import { imageSize } from '../model/image-size.js';
import { simulateRun, type SimulatedMemory, type SimulatedModel, type SimulationInputs } from '../run/simulated-run.js';
import { MicroBatches } from '../step/micro-batch.js';
import type { DDPOConfig } from './ddpo-config.js';
import { policyGradient, policyOptions } from './policy-gradient.js';
import { stepsPerEpoch, trainedSteps } from './policy-updates.js';
import { RewardCalls } from './reward-calls.js';
import { Rollouts } from './rollouts.js';
import { checkPolicy, type Sample } from './samples.js';

/** The work of an epoch of one process, and the memory that a run would need. */
export interface DDPODryRun extends SimulatedMemory {
  /** Images that are drawn and judged. */
  readonly images: number;
  readonly optimizerSteps: number;
  /** Calls of the UNet, each for a whole batch: without a gradient to draw images, and with one to train on them. */
  readonly unetCalls: { readonly sampling: number; readonly gradient: number };
  /** Bytes of the denoising chains and embeddings of an epoch's images, outside the engine's memory. */
  readonly samples: number;
}

export interface DDPODryRunInputs<M> extends Omit<SimulationInputs<M>, 'config'> {
  config: DDPOConfig;
  /** One that has a model is simulated with it. Any other is called once or twice, with images of zeros. */
  rewardFunction: RewardFunction<M> | BlackBoxReward<M>;
  /** A prompt of the run, and its metadata. */
  prompt?: string;
  promptMetadata?: M;
}

/**
 * Simulates drawing and judging a batch of images, training on a micro-batch of them, and an evaluation, on an engine
 * that runs nothing, and reports their peak memory. Needs tfjs's cpu backend, on which zeros take no memory.
 * @throws if a step of the schedule has no density
 */
export async function ddpoDryRun<M>(inputs: DDPODryRunInputs<M>): Promise<DDPODryRun> {
  const config = { ...inputs.config, train_text_encoder: false };
  const images = config.sample_batch_size * config.sample_num_batches_per_epoch;
  let bytes = 0;
  let chain = 0;
  const simulated = await simulateRun({ ...inputs, config }, async (model) => {
    checkPolicy(model.pipeline, config);
    chain = model.pipeline.scheduler.timesteps(config.sample_num_steps).length;
    bytes = images * bytesOf(await simulateEpoch(inputs, model));
  });
  const batches = (config.train_num_inner_epochs * images) / config.train_batch_size;
  return {
    ...simulated,
    images,
    optimizerSteps: stepsPerEpoch(config),
    unetCalls: {
      sampling: config.sample_num_batches_per_epoch * chain,
      gradient: batches * trainedSteps(config, chain),
    },
    samples: bytes,
  };
}

/** Draws a batch and trains on one step of its first images. @returns one of the samples */
async function simulateEpoch<M>(
  { config, rewardFunction, prompt = '', promptMetadata }: DDPODryRunInputs<M>,
  { pipeline, generators }: SimulatedModel,
): Promise<Sample> {
  const { sample_batch_size: batch, train_batch_size: trained } = config;
  const draw = (): [string, M] => [prompt, promptMetadata as M];
  const batches = new MicroBatches<M>(pipeline, draw, { ...config, train_batch_size: batch }, full(), generators);
  const reward = new RewardCalls({
    scorer: new RewardScorer(rewardFunction, pipeline.engine),
    ...{ retries: 0, logger: silent },
  });
  const [, ...latentShape] = pipeline.latentShape({ batch, ...imageSize(config) });
  const gradient = policyGradient(pipeline, { latentShape, ...policyOptions(config) });
  const rollouts = new Rollouts({
    ...{ pipeline, batches, generators, reward },
    config: { ...config, sample_num_batches_per_epoch: 1 },
    ...{ collective: singleProcess, logger: silent },
  });
  try {
    const { batches: drawn } = await rollouts.draw({ step: 0, epoch: 0 }, undefined);
    const [step] = pipeline.scheduler.timesteps(config.sample_num_steps);
    const taken = drawn[0]!.slice(0, trained).map(({ sample }) => ({ sample, step: step!, advantage: 0 }));
    for (let round = 0; round < 2; round++) dispose((await gradient(taken, 1)).params);
    return drawn[0]![0]!.sample;
  } finally {
    batches.dispose();
  }
}

const bytesOf = ({ latents, conditioning, logProbs }: Sample): number =>
  [...latents, ...Object.values(conditioning)].reduce((sum, { byteLength }) => sum + byteLength, 0) +
  8 * logProbs.length;
