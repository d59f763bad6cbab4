import { dispose, scalar, tensor1d, type Tensor } from '@tensorflow/tfjs-core';
import { randn, random } from '@alignprop/autograd-ext';
import { DDIMScheduler, guidedPrediction, type Autoencoder, type StableDiffusionPipeline } from '@alignprop/diffusion';
import { jpegCompressibility } from '@alignprop/rewards';
import {
  AlignPropTrainer,
  type AlignPropConfig,
  type AlignPropConfigInput,
  type EstimatorName,
} from '@alignprop/trainer';
import { estimatorOptions } from './estimator-options.js';

export interface BenchOptions {
  readonly batch: number;
  /** Height and width in pixels; the model's own by default. */
  readonly size: number | undefined;
  readonly steps: number;
  /** The estimator of training steps; undefined attaches the last `attached` steps. */
  readonly estimator: EstimatorName | undefined;
  /** Attached steps of a training step without an estimator. */
  readonly attached: number;
  /** Measured runs; one warm-up run comes first, which loads the weights. */
  readonly runs: number;
  /** The rank of the adapter that training steps train. */
  readonly rank: number;
  /** The scheduler of training steps, as in their configuration. */
  readonly scheduler: string;
  readonly guidanceScale: number;
  /** The tiny decoder of training steps. */
  readonly rewardDecoder: Autoencoder | undefined;
  /** Options that make the gradient cheaper, by their names in the configuration; others keep their defaults. */
  readonly savings: Savings;
}

export type Savings = Pick<
  AlignPropConfigInput,
  'cfg_gradient' | 'guidance_interval' | 'reuse_features' | 'reward_crop'
>;

/** Returns the seconds of each run, the warm-up included. */
export type Measurement = (pipeline: StableDiffusionPipeline, options: BenchOptions) => Promise<number[]>;

const prompt = 'crab';

/** The rows of the table, in order. */
export const measurements: Readonly<
  Record<string, { readonly label: (options: BenchOptions) => string; readonly measure: Measurement }>
> = {
  unet: { label: ({ batch }) => `UNet call, guidance (batch ${2 * batch})`, measure: unetCalls },
  image: {
    label: ({ batch, steps }) => `${batch === 1 ? 'image' : `${batch} images`}, ${steps} steps`,
    measure: images,
  },
  train: {
    label: ({ batch, steps, attached, estimator, rewardDecoder, savings }) =>
      [
        `training step, batch ${batch}`,
        estimator ? `${estimator} in ${steps} steps` : `${attached} of ${steps} attached`,
        ...(rewardDecoder ? ['tiny decoder'] : []),
        ...Object.entries(savings).map(([name, value]) => `${name} ${String(value)}`),
      ].join(', '),
    measure: trainingSteps,
  },
};

/**
 * Measures the guided prediction at one timestep: the UNet on twice the batch. The text embeddings are random, so that
 * the text encoder takes no memory.
 */
async function unetCalls(
  pipeline: StableDiffusionPipeline,
  { batch, size, runs, guidanceScale }: BenchOptions,
): Promise<number[]> {
  const predict = pipeline.engine.compile(guidedPrediction(pipeline.unet.config));
  const latents = pipeline.prepareLatents({
    batch,
    numInferenceSteps: 50,
    height: size,
    width: size,
    generator: random(0),
  });
  const { max_position_embeddings: length, hidden_size: width } = pipeline.textEncoder.config;
  const embeds = randn(random(1), [2 * batch, length, width]);
  const inputs: Tensor[] = [latents, tensor1d([500]), embeds, scalar(guidanceScale)];
  const seconds = await repeat(runs, async () => {
    const outputs = await predict(pipeline.unet.params, ...inputs);
    await outputs[0]!.data();
    dispose([...outputs]);
  });
  dispose(inputs);
  return seconds;
}

/** Measures text to image: text encoder, DDIM chain (one UNet call a step), decoder, reading the pixels. */
async function images(
  base: StableDiffusionPipeline,
  { batch, size, steps, runs, guidanceScale }: BenchOptions,
): Promise<number[]> {
  const pipeline = base.with({ scheduler: DDIMScheduler.fromConfig(base.scheduler.config) });
  return repeat(runs, async () => {
    await pipeline.generate(prompt, {
      numInferenceSteps: steps,
      guidanceScale,
      seed: 0,
      numImagesPerPrompt: batch,
      height: size,
      width: size,
    });
  });
}

/** Measures an optimizer step of AlignProp. */
async function trainingSteps(
  pipeline: StableDiffusionPipeline,
  {
    batch,
    size,
    steps,
    attached,
    estimator,
    runs,
    rank,
    scheduler,
    guidanceScale,
    rewardDecoder,
    savings,
  }: BenchOptions,
): Promise<number[]> {
  const truncation = { truncated_backprop_rand: false, truncated_backprop_timestep: steps - attached };
  const trainer = new AlignPropTrainer({
    pipeline,
    promptFunction: () => [prompt, undefined],
    rewardFunction: jpegCompressibility(),
    rewardDecoder,
    config: {
      num_epochs: runs + 1,
      train_batch_size: batch,
      train_gradient_accumulation_steps: 1,
      scheduler: scheduler as AlignPropConfig['scheduler'],
      sample_num_steps: steps,
      sample_guidance_scale: guidanceScale,
      ...(estimator ? estimatorOptions(estimator, steps) : truncation),
      lora_rank: rank,
      ...savings,
      height: size ?? null,
      width: size ?? null,
    },
  });
  const seconds: number[] = [];
  for await (const metrics of trainer.train()) seconds.push(metrics.seconds);
  trainer.dispose();
  return seconds;
}

async function repeat(runs: number, run: () => Promise<void>): Promise<number[]> {
  const seconds: number[] = [];
  for (let i = 0; i <= runs; i++) {
    const started = performance.now();
    await run();
    seconds.push((performance.now() - started) / 1000);
  }
  return seconds;
}
