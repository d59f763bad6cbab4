// Models as functions that engines compile.
import type { Tensor3D, Tensor4D } from '@tensorflow/tfjs-core';
import type { ModelFunction } from '@alignprop/autograd-ext';
import { vaeDecode, vaeEncode, type AutoencoderKL } from '../autoencoder-kl.js';
import { addedConditions, unet2DCondition, type UNet2DConditionModel } from '../unet-2d-condition.js';

/** `(params, sample, timestep, encoderHiddenStates, ...added conditions)` to the prediction. */
export const unetFunction =
  ({ config }: UNet2DConditionModel): ModelFunction =>
  (params, sample, timestep, context, ...added) =>
    unet2DCondition(config, params, sample as Tensor4D, timestep!, context as Tensor3D, addedConditions(config, added));

/** `(params, latents)` to images. */
export const decoderFunction =
  ({ config }: AutoencoderKL): ModelFunction =>
  (params, latents) =>
    vaeDecode(config, params, latents as Tensor4D);

/** `(params, images)` to mean and log-variance. */
export const encoderFunction =
  ({ config }: AutoencoderKL): ModelFunction =>
  (params, images) => {
    const { mean, logvar } = vaeEncode(config, params, images as Tensor4D);
    return [mean, logvar];
  };
