import { scalar, tidy, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { record } from '@alignprop/autograd-ext/outside';
import type { Conditioning, StableDiffusionPipeline, Step } from '@alignprop/diffusion';
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
  /** The conditioning of the image: its row of each tensor that the batch has. */
  readonly conditioning: ConditioningRow;
}

/** One image's row of a conditioning, by name: `[L, D]` of embeddings, `[P]` of pooled text, `[6]` of sizes. */
export type ConditioningRow = Readonly<Partial<Record<keyof Conditioning, Float32Array>>>;

/** The names of the tensors of a conditioning. */
export const conditioningNames = [
  ...['promptEmbeds', 'pooledPromptEmbeds', 'timeIds'],
  ...['negativePromptEmbeds', 'negativePooledPromptEmbeds', 'negativeTimeIds'],
] as const satisfies readonly (keyof Conditioning)[];

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
    const rows = await Promise.all(latents.map(rowsOf));
    const conditioning = await conditioningRows(inputs);
    const samples = inputs.prompts.map((prompt, b) => ({
      prompt,
      latents: rows.map((x) => x[b]!),
      logProbs: logProbs.map((values) => values[b]!),
      conditioning: conditioning[b]!,
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

/** Splits a conditioning into the rows of its images. */
async function conditioningRows(conditioning: Conditioning): Promise<readonly ConditioningRow[]> {
  const rows = Array.from({ length: conditioning.promptEmbeds.shape[0] }, () => record<Float32Array>());
  for (const name of conditioningNames) {
    const tensor = conditioning[name];
    if (tensor) (await rowsOf(tensor)).forEach((values, b) => (rows[b]![name] = values));
  }
  return rows;
}

/** The values of each member of the batch. */
async function rowsOf(tensor: Tensor): Promise<readonly Float32Array[]> {
  const data = await tensor.data<'float32'>();
  const size = tensor.size / tensor.shape[0]!;
  return Array.from({ length: tensor.shape[0]! }, (_, b) => data.slice(b * size, (b + 1) * size));
}

/**
 * Checks that a model has a policy that can be differentiated here.
 * @throws for a step without noise, which has no density; a schedule that ends at ᾱ = 1 has one as well
 */
export function checkPolicy(
  { scheduler }: StableDiffusionPipeline,
  { sample_num_steps, sample_eta }: Pick<DDPOConfig, 'sample_num_steps' | 'sample_eta'>,
): void {
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
