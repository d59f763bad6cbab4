import { add, dispose, mul, tidy, tile, type Tensor4D } from '@tensorflow/tfjs-core';
import type { UNet2DConditionModel } from '../models/unet-2d-condition.js';
import type { Scheduler, Step } from '../schedulers/scheduler.js';
import type { Generation } from './generation.js';
import type { ImageEncoder } from './image-encoder.js';
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
  const steps = scheduler.timesteps(numInferenceSteps);
  if (image) return startFromImage(inputs, generation, image, steps);
  const sigma = scheduler.initNoiseSigma(numInferenceSteps);
  return { latents: noise ? tidy(() => mul(noise, sigma)) : initialLatents(shape, generator, sigma), steps };
}

async function startFromImage(
  { scheduler, unet, imageEncoder, noise: given, shape }: ChainInputs,
  { generator, strength, numInferenceSteps }: Generation,
  image: Tensor4D,
  schedule: readonly Step[],
): Promise<ChainStart> {
  checkChain(scheduler, unet);
  const count = Math.min(Math.trunc(numInferenceSteps * strength), numInferenceSteps);
  if (count < 1)
    throw new Error(
      `${owner}: strength got ${strength}, which leaves none of ${numInferenceSteps} steps, expected one or more. ` +
        `Pass at least ${1 / numInferenceSteps}.`,
    );
  const steps = schedule.slice(schedule.length - count);
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

/** @throws for chains that cannot start in the middle */
function checkChain(scheduler: Scheduler, unet: UNet2DConditionModel): void {
  if (scheduler.historyLength > 0)
    throw new Error(
      `${owner}: image got the scheduler ${String(scheduler.config._class_name)}, whose steps depend on earlier ` +
        'ones, expected another. Take DDIM, Euler or Euler ancestral.',
    );
  if (unet.config.time_cond_proj_dim !== null)
    throw new Error(
      `${owner}: image got a latent consistency model, which starts from noise, expected another model. ` +
        'Leave the image out.',
    );
}

/** Noises latents `[B, h, w, C]` to the level before a step, whose timestep may be a fraction between two levels. */
export function noisedTo(scheduler: Scheduler, step: Step, latents: Tensor4D, noise: Tensor4D): Tensor4D {
  const isScaled = scheduler.inputScale(step) !== 1; // latents are then x_0 + σ · noise
  if (isScaled) return add(latents, mul(noise, step.sigmas![step.index]!));
  return scheduler.addNoise(latents, noise, new Array<number>(latents.shape[0]).fill(step.t));
}
