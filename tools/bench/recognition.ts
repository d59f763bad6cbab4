import {
  concat,
  mean,
  mul,
  reshape,
  softmax,
  squaredDifference,
  sub,
  sum,
  tensor1d,
  tensor2d,
  tensor4d,
  tile,
  type Tensor,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { random, type Params } from '@alignprop/autograd-ext';
import { unet2DCondition, vaeEncode, type AutoencoderKL, type StableDiffusionPipeline } from '@alignprop/diffusion';
import { defineReward, type ModelReward } from '@alignprop/rewards';

/**
 * Timesteps at which prompts are compared: noisy enough for the prompt to matter, not so noisy as to hide the image.
 */
const timesteps = [400, 650];
/**
 * Inverse temperature of the softmax over mean squared errors; high enough to separate the untouched model's images.
 */
const certainty = 2000;

/**
 * Returns a reward: the probability, from 0 to 1, that the untouched model gives an image's prompt among all prompts. A
 * diffusion classifier (arXiv 2303.16203): the image is noised, and the prompt with which the UNet predicts that noise
 * best is the likeliest. Chance is 1 / prompts.
 * @param pipeline the pipeline that training starts from
 */
export async function recognition(pipeline: StableDiffusionPipeline, prompts: readonly string[]): Promise<ModelReward> {
  const { unet, scheduler } = pipeline;
  const vae = pipeline.vae as AutoencoderKL;
  const { promptEmbeds: embeds } = await pipeline.encodePrompt(prompts); // [P, L, D]
  const [, ...shape] = pipeline.latentShape({ batch: 1 });
  const noises = timesteps.map((_, i) => tensor4d(random(i).randn(shape[0] * shape[1] * shape[2]), [1, ...shape]));

  /** Mean squared errors of the predicted noise at one timestep, `[B, P]`: every image with every prompt. */
  const errors = (params: Params, latents: Tensor4D, t: number, noise: Tensor4D): Tensor => {
    const batch = latents.shape[0];
    const noisy = scheduler.addNoise(latents, tile(noise, [batch, 1, 1, 1]), new Array<number>(batch).fill(t));
    const each = reshape(tile(reshape(noisy, [batch, 1, -1]), [1, prompts.length, 1]), [
      batch * prompts.length,
      ...shape,
    ]) as Tensor4D;
    const predicted = unet2DCondition(unet.config, params, each, tensor1d([t]), tile(embeds, [batch, 1, 1]));
    return reshape(mean(squaredDifference(predicted, noise), [1, 2, 3]), [batch, prompts.length]);
  };
  return defineReward({
    params: { vae: vae.params, unet: unet.params },
    inputs: (shown) => [tensor2d(shown.map((prompt) => prompts.map((other) => Number(other === prompt))))],
    score: (params, images, shown) => {
      const models = params as Readonly<Record<'vae' | 'unet', Params>>;
      const latents = mul(
        vaeEncode(vae.config, models.vae, sub(mul(images!, 2), 1) as Tensor4D).mean,
        vae.config.scaling_factor,
      ) as Tensor4D;
      const all = timesteps.map((t, i) =>
        reshape(errors(models.unet, latents, t, noises[i]!), [1, images!.shape[0]!, -1]),
      );
      return sum(mul(softmax(mul(mean(concat(all), 0), -certainty)), shown!), 1);
    },
  });
}
