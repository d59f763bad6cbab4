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
import { addedConditions, unet2DCondition, type UNet2DConditionConfig } from '../models/unet-2d-condition.js';

/** Options of classifier-free guidance. */
export interface GuidanceOptions {
  /**
   * φ in [0, 1] (arXiv 2305.08891, §3.4): 0 keeps the guided prediction, 1 scales it to the standard deviation of the
   * conditional prediction.
   */
  guidanceRescale?: number;
}

/**
 * Returns the UNet under classifier-free guidance (arXiv 2207.12598, eq. 6) as one function of
 * `(params, latents [B, h, w, C], timestep [1], promptEmbeds, guidanceScale [], inputScale [], ...added)` to a
 * prediction `[B, h, w, C]`. `promptEmbeds` of `[2B, L, D]`, unconditional half first, gives u + w (c - u);
 * `[B, L, D]` gives c without guidance. The UNet sees the latents times `inputScale`, which may be left out where it
 * is 1 and no added conditions follow; see `predictionInputs`.
 */
export function guidedPrediction(
  config: UNet2DConditionConfig,
  { guidanceRescale = 0 }: GuidanceOptions = {},
): ModelFunction {
  return function guidedUNet(params, latents, timestep, promptEmbeds, guidanceScale, inputScale, ...inputs) {
    const sample = (inputScale ? mul(latents!, inputScale) : latents) as Tensor4D;
    const embeds = promptEmbeds as Tensor3D;
    const [batch] = sample.shape;
    const added = addedConditions(config, inputs);
    const predictFor = (x: Tensor4D) => unet2DCondition(config, params, x, timestep!, embeds, added);
    if (embeds.shape[0] === batch) return predictFor(sample);
    const predictions = predictFor(concat([sample, sample])); // [2B, h, w, C]
    const unconditional = slice(predictions, 0, batch);
    const conditional = slice(predictions, batch, batch);
    const guided = add(unconditional, mul(sub(conditional, unconditional), guidanceScale!));
    return guidanceRescale === 0 ? guided : rescaleNoiseCfg(guided, conditional, guidanceRescale);
  };
}

/**
 * diffusers' `rescale_noise_cfg`. Uses biased standard deviations: Bessel's correction cancels in their ratio.
 */
function rescaleNoiseCfg(guided: Tensor, conditional: Tensor, guidanceRescale: number): Tensor {
  const std = (x: Tensor) => sqrt(moments(x, [1, 2, 3], true).variance); // [B, 1, 1, 1]
  const rescaled = mul(guided, div(std(conditional), std(guided)));
  return add(mul(rescaled, guidanceRescale), mul(guided, 1 - guidanceRescale));
}
