import { add, matMul, reshape, type Tensor1D, type Tensor2D, type Tensor4D } from '@tensorflow/tfjs-core';
import type { Params } from '@alignprop/autograd-ext';
import type { ParamsSpec } from '@alignprop/autograd-ext/weights';
import { count, oneOf, readConfig, type ConfigInput, type ConfigOf } from './model-config.js';
import { definePretrainedModel, openModel, type PretrainedModel } from './pretrained-model.js';

const fields = {
  decoder_type: oneOf(['linear'], 'linear'), // which the configs of autoencoders do not have
  latent_channels: count(4),
};

/** The config of a `LinearDecoder`. */
export type LinearDecoderConfig = ConfigOf<typeof fields>;

/** The weights of a `LinearDecoder`: `[3, C]` and `[3]`. */
type LinearDecoderParams = { readonly weight: Tensor2D; readonly bias: Tensor1D };

const linearDecoderSpec = ({ latent_channels: channels }: LinearDecoderConfig): ParamsSpec => ({
  weight: { shape: [3, channels] },
  bias: { shape: [3] },
});

/**
 * Maps each latent to a pixel: weight · x + bias.
 * @param latents `[B, h, w, C]`, as the scheduler has them, not divided by a scaling factor
 * @returns `[B, h, w, 3]` in about [0, 1], not clipped
 */
export function linearDecode(params: Params, latents: Tensor4D): Tensor4D {
  const { weight, bias } = params as unknown as LinearDecoderParams;
  const [batch, height, width, channels] = latents.shape;
  const pixels = matMul(reshape(latents, [batch * height * width, channels]), weight, false, true); // [B·h·w, 3]
  return reshape(add(pixels, bias), [batch, height, width, 3]);
}

/**
 * The smallest decoder of what a reward judges: a pixel for each latent, by one matrix. `fitLinearDecoder` fits it to a
 * model; `saveModel` writes it, and `fromPretrained` reads its folder.
 */
export const LinearDecoder = definePretrainedModel({
  name: 'LinearDecoder',
  config: (input: ConfigInput): LinearDecoderConfig => readConfig('LinearDecoder', fields, input),
  spec: linearDecoderSpec,
  open: (folder, options) => openModel(folder, 'diffusion_pytorch_model', options),
});
export type LinearDecoder = PretrainedModel<LinearDecoderConfig>;
