import {
  add,
  concat,
  div,
  moments,
  mul,
  slice,
  sqrt,
  sub,
  type Tensor,
  type Tensor3D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import type { ModelFunction } from '@alignprop/autograd-ext';
import { unet2DCondition, type UNet2DConditionConfig } from '../models/unet-2d-condition.js';

/** How the conditional and the unconditional prediction are combined. */
export interface GuidanceOptions {
  /**
   * 0 leaves the guided prediction as it is, 1 gives it the conditional prediction's standard deviation (arXiv
   * 2305.08891, §3.4).
   */
  guidanceRescale?: number;
}

/**
 * The UNet under classifier-free guidance (arXiv 2207.12598, eq. 6), as one function of
 * `(params, latents [B, h, w, C], timestep [1], promptEmbeds, guidanceScale [])` to a prediction `[B, h, w, C]`.
 * With `promptEmbeds` of `[2B, L, D]`, unconditional half first, u + w (c - u); with `[B, L, D]` there is no guidance.
 */
export function guidedPrediction(
  config: UNet2DConditionConfig,
  { guidanceRescale = 0 }: GuidanceOptions = {},
): ModelFunction {
  return (params, latents, timestep, promptEmbeds, guidanceScale) => {
    const batch = latents!.shape[0]!;
    const sample = latents as Tensor4D;
    if (promptEmbeds!.shape[0] === batch)
      return unet2DCondition(config, params, sample, timestep!, promptEmbeds as Tensor3D);
    // [2B, h, w, C]
    const both = unet2DCondition(config, params, concat([sample, sample]), timestep!, promptEmbeds as Tensor3D);
    const unconditional = slice(both, 0, batch);
    const conditional = slice(both, batch, batch);
    const guided = add(unconditional, mul(sub(conditional, unconditional), guidanceScale!));
    return guidanceRescale === 0 ? guided : rescale(guided, conditional, guidanceRescale);
  };
}

/** diffusers' `rescale_noise_cfg`: the ratio of standard deviations needs no correction for bias. */
function rescale(guided: Tensor, conditional: Tensor, guidanceRescale: number): Tensor {
  const std = (x: Tensor) => sqrt(moments(x, [1, 2, 3], true).variance); // [B, 1, 1, 1]
  const rescaled = mul(guided, div(std(conditional), std(guided)));
  return add(mul(rescaled, guidanceRescale), mul(guided, 1 - guidanceRescale));
}
