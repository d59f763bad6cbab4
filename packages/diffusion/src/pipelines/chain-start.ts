import { add, dispose, mul, tidy, tile, type Tensor4D } from '@tensorflow/tfjs-core';
import type { UNet2DConditionModel } from '../models/unet-2d-condition.js';
import type { Scheduler, Step } from '../schedulers/scheduler.js';
import type { Generation } from './generation.js';
import type { ImageEncoder } from './image-encoder.js';
import { distilledTimesteps, type DistillationConfig } from '../schedulers/distillation.js';
import { drawNoise, initialLatents } from './latents.js';

/** The start of a denoising chain, and the steps that it takes from there. */
export interface ChainStart {
  /** `[B, h, w, C]` */
  readonly latents: Tensor4D;
  readonly steps: readonly Step[];
}

interface ChainInputs {
  readonly scheduler: Scheduler;
  readonly unet: UNet2DConditionModel;
  readonly imageEncoder: ImageEncoder;
  /** Standard normal noise, instead of drawn noise. */
  readonly noise: Tensor4D | undefined;
  /** `[B, h, w, C]` */
  readonly shape: Tensor4D['shape'];
}

const owner = 'StableDiffusionPipeline.generate';

/**
 * Starts from noise with the whole schedule; from an image, as diffusers' `StableDiffusionImg2ImgPipeline` does, with
 * the last `strength` of the steps from the image with noise of their level.
 * @throws if the noise has another shape, or the image cannot be started from
 */
export async function startChain(inputs: ChainInputs, generation: Generation): Promise<ChainStart> {
  const { scheduler, noise, shape } = inputs;
  const { generator, numInferenceSteps, image } = generation;
  if (noise && noise.shape.join() !== shape.join())
    throw new Error(
      `${owner}: latents got shape [${noise.shape.join(', ')}], ` +
        `expected [${shape.join(', ')}] (batch, height, width, channels).`,
    );
  if (image) return startFromImage(inputs, image, generation, stepsFromImage(inputs, generation));
  const steps = scheduler.timesteps(numInferenceSteps);
  const sigma = scheduler.initNoiseSigma(numInferenceSteps);
  return { latents: noise ? tidy(() => mul(noise, sigma)) : initialLatents(shape, generator, sigma), steps };
}

async function startFromImage(
  { scheduler, imageEncoder, noise: given, shape }: ChainInputs,
  image: Tensor4D,
  { generator }: Generation,
  steps: readonly Step[],
): Promise<ChainStart> {
  const original = await imageEncoder.encode(image, generator);
  const noise = given ?? drawNoise(shape, generator);
  try {
    const latents = tidy(() =>
      noisedTo(scheduler, steps[0]!, tile(original, [shape[0] / original.shape[0], 1, 1, 1]), noise),
    );
    return { latents, steps };
  } finally {
    dispose(given ? [original] : [original, noise]);
  }
}

/**
 * Returns the steps from an image: the last `strength` of a chain, or for latent consistency models, as diffusers'
 * `LatentConsistencyModelImg2ImgPipeline` takes them, all steps of a chain through the last `strength` of the noise.
 * @throws if there are none
 */
function stepsFromImage(
  { scheduler, unet }: ChainInputs,
  { strength, numInferenceSteps }: Generation,
): readonly Step[] {
  if (unet.config.time_cond_proj_dim !== null) return consistencySteps(scheduler, numInferenceSteps, strength);
  const count = Math.min(Math.trunc(numInferenceSteps * strength), numInferenceSteps);
  if (count < 1)
    throw new Error(
      `${owner}: strength got ${strength}, which leaves none of ${numInferenceSteps} steps, expected one or more. ` +
        `Pass at least ${1 / numInferenceSteps}.`,
    );
  return scheduler.lastSteps(numInferenceSteps, count);
}

/** @throws if the scheduler is not that of latent consistency models: diffusers passes it the strength */
function consistencySteps({ config }: Scheduler, count: number, strength: number): readonly Step[] {
  const name = config._class_name as string;
  if (name === 'LCMScheduler')
    return distilledTimesteps(`${name}.timesteps`, config as DistillationConfig, count, strength);
  throw new Error(
    `${owner}: image got a latent consistency model with ${name}, expected LCMScheduler, whose steps depend on the ` +
      "strength. Take the model's own scheduler.",
  );
}

/** Noises latents `[B, h, w, C]` to the level before a step, whose timestep may be a fraction between two levels. */
export function noisedTo(scheduler: Scheduler, step: Step, latents: Tensor4D, noise: Tensor4D): Tensor4D {
  const scale = scheduler.inputScale(step);
  if (scale !== 1) return add(latents, mul(noise, Math.sqrt(1 / scale ** 2 - 1))); // x_0 + σ · noise
  const sigma = step.sigmas?.[step.index];
  if (sigma !== undefined) return mul(add(latents, mul(noise, sigma)), 1 / Math.sqrt(sigma ** 2 + 1));
  return scheduler.addNoise(latents, noise, new Array<number>(latents.shape[0]).fill(step.t));
}
