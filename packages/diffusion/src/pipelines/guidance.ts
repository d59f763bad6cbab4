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
import type { ModelFunction, Params } from '@alignprop/autograd-ext';
import { addedConditions, unetPass, type UNet2DConditionConfig, type UNetInputs } from '../models/unet-2d-condition.js';

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
  const predict = guidedPass(config, (params, inputs) => [unetPass(config, params, inputs).output], guidanceRescale);
  return function guidedUNet(params, ...inputs) {
    return predict(params, ...inputs)[0]; // a tensor, so that a larger function can call this one
  };
}

/**
 * The guided prediction that also returns the features which enter the shallow part of the UNet, for
 * `shallowPrediction`: `[prediction, features]`, with as many rows of features as of `promptEmbeds`.
 * @param block the index of the up block whose output they are; not the last one
 */
export const predictionWithFeatures = (config: UNet2DConditionConfig, block: number): ModelFunction =>
  guidedPass(config, (params, inputs) => {
    const { output, features } = unetPass(config, params, inputs);
    return [output, features.get(block)!];
  });

/**
 * The guided prediction from features of an earlier step (DeepCache, arXiv 2312.00858): a function of
 * `(params, features, latents, …)`, with the arguments of `guidedPrediction` from the latents on.
 */
export const shallowPrediction =
  (config: UNet2DConditionConfig, block: number): ModelFunction =>
  (params, features, ...inputs) => {
    const reused = { block, features: features as Tensor4D };
    const predict = guidedPass(config, (weights, pass) => [unetPass(config, weights, pass, reused).output]);
    return predict(params, ...inputs)[0];
  };

/** A pass of the UNet over all rows: the prediction, and what else it returns. */
type Pass = (params: Params, inputs: UNetInputs) => readonly [prediction: Tensor4D, ...rest: Tensor4D[]];

/** The outputs of a pass under guidance; the prediction is the first. */
type GuidedPass = (params: Params, ...inputs: Tensor[]) => readonly [Tensor, ...Tensor[]];

function guidedPass(config: UNet2DConditionConfig, pass: Pass, guidanceRescale = 0): GuidedPass {
  return (params, latents, timestep, promptEmbeds, guidanceScale, inputScale, ...inputs) => {
    const sample = (inputScale ? mul(latents!, inputScale) : latents) as Tensor4D;
    const encoderHiddenStates = promptEmbeds as Tensor3D;
    const [batch] = sample.shape;
    const added = addedConditions(config, inputs);
    const passFor = (x: Tensor4D) => pass(params, { sample: x, timestep: timestep!, encoderHiddenStates, added });
    if (encoderHiddenStates.shape[0] === batch) return passFor(sample);
    const [predictions, ...rest] = passFor(concat([sample, sample])); // [2B, h, w, C]
    const unconditional = slice(predictions, 0, batch);
    const conditional = slice(predictions, batch, batch);
    const guided = add(unconditional, mul(sub(conditional, unconditional), guidanceScale!));
    return [guidanceRescale === 0 ? guided : rescaleNoiseCfg(guided, conditional, guidanceRescale), ...rest];
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
