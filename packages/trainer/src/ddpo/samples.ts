import { scalar, tidy, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import type { StableDiffusionPipeline, Step } from '@alignprop/diffusion';
import { className } from '../config/trainable-schedulers.js';
import type { Trajectory } from '../gradient/walk-up.js';
import type { GradientInputs } from '../gradient/alignprop-gradient.js';
import { walkDown, type SamplingOptions } from '../gradient/walk-down.js';
import type { DDPOConfig } from './ddpo-config.js';
import { transitionLogProb } from './policy.js';
import { disposeTensors } from '@alignprop/autograd-ext';

/** The denoising chain of one image, outside tfjs's memory: an epoch has too many of them for it. */
export interface Sample {
  readonly prompt: string;
  /** x_T … x_0, `[h, w, C]` each. */
  readonly latents: readonly Float32Array[];
  /** The log-probability of each step, under the weights that drew the sample. */
  readonly logProbs: readonly number[];
  /** `[L, D]` */
  readonly promptEmbeds: Float32Array;
  /** `[L, D]`; only with guidance. */
  readonly negativePromptEmbeds?: Float32Array;
}

/** Tensors belong to the caller. */
export interface SampledBatch {
  readonly samples: readonly Sample[];
  /** `[B, H, W, 3]` in [0, 1] */
  readonly images: Tensor4D;
}

/**
 * Draws a batch of images without a gradient, with the latents and log-probabilities of all steps.
 * @throws the signal's reason, between steps; nothing stays allocated then
 */
export async function drawSamples(
  pipeline: StableDiffusionPipeline,
  options: SamplingOptions,
  inputs: Omit<GradientInputs<unknown>, 'promptMetadata'>,
): Promise<SampledBatch> {
  const trajectory = await walkDown(pipeline, options, inputs);
  const { steps, latents, modelOutputs } = trajectory;
  try {
    const logProbs = await Promise.all(
      steps.map((step, i) => stepLogProbs(pipeline, trajectory, step, i, options.eta)),
    );
    const rows = {
      latents: await Promise.all(latents.map(rowsOf)),
      prompt: await rowsOf(inputs.promptEmbeds),
      negative: await rowsOf(inputs.negativePromptEmbeds),
    };
    const samples = inputs.prompts.map((prompt, b) => ({
      prompt,
      latents: rows.latents.map((x) => x[b]!),
      logProbs: logProbs.map((values) => values[b]!),
      promptEmbeds: rows.prompt[b]!,
      negativePromptEmbeds: rows.negative[b],
    }));
    return { samples, images: await pipeline.decode(latents.at(-1)!) };
  } finally {
    disposeTensors([latents, modelOutputs]);
  }
}

async function stepLogProbs(
  { scheduler }: StableDiffusionPipeline,
  { latents, modelOutputs }: Trajectory,
  step: Step,
  i: number,
  eta: number,
): Promise<Float32Array> {
  const logProbs = tidy(() => {
    const { sample, modelOutput, noise } = scheduler.coefficients(step, eta);
    return transitionLogProb(modelOutputs[i]!, latents[i]!, latents[i + 1]!, {
      sample: scalar(sample),
      modelOutput: scalar(modelOutput),
      noise: scalar(noise),
    });
  });
  return logProbs.data<'float32'>().finally(() => logProbs.dispose());
}

/** The values of each member of the batch. */
async function rowsOf(tensor: Tensor | undefined): Promise<readonly Float32Array[]> {
  if (!tensor) return [];
  const data = await tensor.data<'float32'>();
  const size = tensor.size / tensor.shape[0]!;
  return Array.from({ length: tensor.shape[0]! }, (_, b) => data.slice(b * size, (b + 1) * size));
}

/**
 * Checks that a model has a policy that can be differentiated here.
 * @throws for SDXL, whose pooled text and sizes the gradient does not have; for a step without noise, which has no
 *   density; a schedule that ends at ᾱ = 1 has one as well
 */
export function checkPolicy(
  { isXL, scheduler }: StableDiffusionPipeline,
  { sample_num_steps, sample_eta }: Pick<DDPOConfig, 'sample_num_steps' | 'sample_eta'>,
): void {
  if (isXL)
    throw new Error(
      'DDPOTrainer: the model got SDXL, expected Stable Diffusion 1.x or 2.x. Train SDXL with AlignPropTrainer.',
    );
  const certain = scheduler
    .timesteps(sample_num_steps)
    .find((step) => !(scheduler.coefficients(step, sample_eta).noise > 0));
  if (!certain) return;
  const name = className(scheduler);
  const advice =
    name === 'DDIMScheduler'
      ? 'Set sample_eta above 0, and use a scheduler with set_alpha_to_one false.'
      : "Set scheduler to 'ddim', or train with AlignPropTrainer, which needs no density.";
  throw new Error(
    `DDPOTrainer: the step of ${name} at t = ${certain.t} adds no noise, so that it has no density. ${advice}`,
  );
}
