import { dispose, mean, mul } from '@tensorflow/tfjs-core';
import { TfjsEngine, trainable, type Engine } from '@alignprop/autograd-ext';
import { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { RewardFunction } from '@alignprop/rewards';
import { fixturePath } from '../../../../fixtures/index.js';
import type { AlignPropConfigInput } from '../config/config.js';
import type { StepMetrics } from '../trackers/metrics.js';
import { AlignPropTrainer, type AlignPropTrainerOptions } from '../trainer.js';

/** The pipeline of sd2-tiny, by default on tfjs, which starts faster than ONNX Runtime and computes the same. */
export const tinyPipeline = (engine: Engine = new TfjsEngine()) =>
  StableDiffusionPipeline.fromPretrained(fixturePath('sd2-tiny/model'), { engine });

/** A reward that is higher for brighter images. */
export const brightness: RewardFunction = (images) => mul(mean(images, [1, 2, 3]), 10);

/** Three denoising steps of the smallest images; the last two are attached. */
export const tinyConfig: AlignPropConfigInput = {
  sample_num_steps: 3,
  truncated_backprop_rand: false,
  truncated_backprop_timestep: 1,
  train_batch_size: 2,
  num_epochs: 2,
  height: 16,
  width: 16,
};

/** One attached denoising step of one image: the cheapest training there is. */
export const oneStepConfig: AlignPropConfigInput = {
  sample_num_steps: 1,
  truncated_backprop_timestep: 0,
  train_batch_size: 1,
};

const animals = ['cat', 'dog', 'horse', 'crab'];

/** A trainer of brightness with `tinyConfig`; the options given take precedence. */
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

/** Trains to the end and returns the metrics of all steps, without the durations, which differ between runs. */
export async function collect<M>(
  trainer: AlignPropTrainer<M>,
  signal?: AbortSignal,
): Promise<Omit<StepMetrics, 'seconds'>[]> {
  const all: Omit<StepMetrics, 'seconds'>[] = [];
  for await (const { seconds: _, ...metrics } of trainer.train({ signal })) all.push(metrics);
  return all;
}

/** The values of a small image that a pipeline draws in two steps. */
export async function drawnValues(pipeline: StableDiffusionPipeline): Promise<number[]> {
  const size = { height: 16, width: 16 };
  const { images, latents } = await pipeline.generate('cat', {
    ...size,
    seed: 1,
    numInferenceSteps: 2,
    outputType: 'tensor',
  });
  const values = [...images.dataSync()];
  dispose([images, latents]);
  return values;
}

/** All values that are trained of a UNet, in one list. */
export const trainedValues = ({ unet }: StableDiffusionPipeline): number[] =>
  Object.values(trainable(unet.params)).flatMap((variable) => [...variable.dataSync()]);
