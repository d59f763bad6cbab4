import { mean, mul } from '@tensorflow/tfjs-core';
import { TfjsEngine, type Engine } from '@alignprop/autograd-ext';
import { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { RewardFunction } from '@alignprop/rewards';
import { fixturePath } from '../../../../fixtures/index.js';
import type { AlignPropConfigInput } from '../config/config.js';
import type { StepMetrics } from '../trackers/metrics.js';
import { AlignPropTrainer, type AlignPropTrainerOptions } from '../trainer.js';

/** On an engine that starts at once; what it computes, any engine does. */
export const tinyPipeline = (engine: Engine = new TfjsEngine()) =>
  StableDiffusionPipeline.fromPretrained(fixturePath('sd2-tiny/model'), { engine });

/** Bright images are good. */
export const brightness: RewardFunction = (images) => mul(mean(images, [1, 2, 3]), 10);

/** Three steps on the smallest images, all attached. */
export const tinyConfig: AlignPropConfigInput = {
  sample_num_steps: 3,
  truncated_backprop_rand: false,
  truncated_backprop_timestep: 1,
  train_batch_size: 2,
  num_epochs: 2,
  height: 16,
  width: 16,
};

const animals = ['cat', 'dog', 'horse', 'crab'];

export const tinyTrainer = <M = undefined>({
  config,
  ...options
}: Partial<AlignPropTrainerOptions<M>> & Pick<AlignPropTrainerOptions<M>, 'pipeline'>): AlignPropTrainer<M> =>
  new AlignPropTrainer<M>({
    promptFunction: (generator) => animals[generator.randint(0, animals.length, 1)[0]!]!,
    rewardFunction: brightness as RewardFunction<M>,
    ...options,
    config: { ...tinyConfig, ...config },
  });

/** All steps; without the time, which differs between runs. */
export async function collect<M>(
  trainer: AlignPropTrainer<M>,
  signal?: AbortSignal,
): Promise<Omit<StepMetrics, 'seconds'>[]> {
  const all: Omit<StepMetrics, 'seconds'>[] = [];
  for await (const { seconds: _, ...metrics } of trainer.train({ signal })) all.push(metrics);
  return all;
}
