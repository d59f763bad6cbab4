import { clipByValue, split, type Tensor4D } from '@tensorflow/tfjs-core';
import { conv2d, type Params, type StoredTensor } from '@alignprop/autograd-ext';
import type { ParamsSpec } from '@alignprop/autograd-ext/weights';
import { excerptJson, table } from '@alignprop/autograd-ext/outside';
import {
  anything,
  blockLayerCount,
  count,
  counts,
  listOf,
  nullMeans,
  oneOf,
  readConfig,
  real,
  reportConfig,
  spelled,
  type ConfigInput,
  type ConfigOf,
} from './model-config.js';
import { conv2dSpec, type Conv2DParams } from './layers.js';
import { definePretrainedModel, openModel, type PretrainedModel } from './pretrained-model.js';
import {
  vaeDecoder,
  vaeDecoderSpec,
  vaeEncoder,
  vaeEncoderSpec,
  type VaeDecoderParams,
  type VaeEncoderParams,
  type VaeShape,
} from './vae.js';

// Every field of diffusers' AutoencoderKL. Null is read as diffusers' constructor reads it.
const fields = {
  in_channels: count(3),
  out_channels: count(3),
  down_block_types: listOf(['DownEncoderBlock2D'], ['DownEncoderBlock2D']),
  up_block_types: listOf(['UpDecoderBlock2D'], ['UpDecoderBlock2D']),
  block_out_channels: counts([64]),
  layers_per_block: blockLayerCount(1),
  act_fn: spelled(oneOf(['silu', 'swish'], 'silu'), (name) => name.toLowerCase()),
  latent_channels: count(4),
  norm_num_groups: count(32),
  sample_size: anything<number | readonly number[] | null>(32), // used by tiling alone
  scaling_factor: real(0.18215),
  shift_factor: oneOf([null, 0], null),
  latents_mean: oneOf([null], null),
  latents_std: oneOf([null], null),
  force_upcast: anything<boolean | null>(true), // everything is float32 here
  use_quant_conv: nullMeans(oneOf([true, false], true), false),
  use_post_quant_conv: nullMeans(oneOf([true, false], true), false),
  mid_block_add_attention: nullMeans(oneOf([true, false], true), false),
};

/** The config of diffusers' `AutoencoderKL`, in the file's spelling. */
export type AutoencoderKLConfig = ConfigOf<typeof fields>;

/** The weights of diffusers' `AutoencoderKL`. */
export type AutoencoderKLParams = {
  encoder: VaeEncoderParams;
  decoder: VaeDecoderParams;
  quant_conv?: Conv2DParams;
  post_quant_conv?: Conv2DParams;
};

/**
 * Fills in diffusers' defaults and validates every field.
 * @throws if values are not supported; lists every such field with the supported values
 */
function autoencoderKLConfig(input: ConfigInput): AutoencoderKLConfig {
  const config = readConfig('AutoencoderKL', fields, input);
  const { length } = config.block_out_channels;
  const problems = (['down_block_types', 'up_block_types'] as const)
    .filter((name) => config[name].length !== length)
    .map((name) => `${name} got ${excerptJson(config[name])}, expected ${length} entries, as block_out_channels has`);
  const indivisible = config.block_out_channels
    .filter((channels) => channels % config.norm_num_groups)
    .map((channels) => `norm_num_groups got ${config.norm_num_groups}, expected a divisor of ${channels} channels`);
  reportConfig('AutoencoderKL', [...problems, ...indivisible]);
  return config;
}

/** Returns the weights that a config requires. */
function autoencoderKLSpec(config: AutoencoderKLConfig): ParamsSpec {
  const latents = config.latent_channels;
  return {
    encoder: vaeEncoderSpec(shape(config)),
    decoder: vaeDecoderSpec(shape(config)),
    ...(config.use_quant_conv ? { quant_conv: conv2dSpec(2 * latents, 2 * latents, 1) } : {}),
    ...(config.use_post_quant_conv ? { post_quant_conv: conv2dSpec(latents, latents, 1) } : {}),
  };
}

/**
 * Decodes latents to images: diffusers' `AutoencoderKL.decode`.
 * @param latents `[B, h, w, 4]`, already divided by `scaling_factor`
 * @returns `[B, f·h, f·w, 3]` in about [-1, 1], not clipped, with f = 2^(levels - 1)
 */
export function vaeDecode(config: AutoencoderKLConfig, params: Params, latents: Tensor4D): Tensor4D {
  const { decoder, post_quant_conv } = params as unknown as AutoencoderKLParams;
  const x = post_quant_conv ? conv2d(latents, post_quant_conv.weight, post_quant_conv.bias) : latents;
  return vaeDecoder(decoder, x, { groups: config.norm_num_groups });
}

/**
 * Encodes images to the posterior over latents: diffusers' `AutoencoderKL.encode`.
 * @param images `[B, H, W, 3]` in [-1, 1]
 * @returns mean and log-variance, `[B, h, w, 4]` each, not yet multiplied by `scaling_factor`; logvar lies in [-30, 20]
 */
export function vaeEncode(
  config: AutoencoderKLConfig,
  params: Params,
  images: Tensor4D,
): { mean: Tensor4D; logvar: Tensor4D } {
  const { encoder, quant_conv } = params as unknown as AutoencoderKLParams;
  const x = vaeEncoder(encoder, images, { groups: config.norm_num_groups });
  const moments = quant_conv ? conv2d(x, quant_conv.weight, quant_conv.bias) : x;
  const [mean, logvar] = split(moments, 2, 3) as [Tensor4D, Tensor4D];
  return { mean, logvar: clipByValue(logvar, -30, 20) };
}

/** The image autoencoder of Stable Diffusion. Also loads files with the attention names before diffusers 0.18. */
export const AutoencoderKL = definePretrainedModel({
  name: 'AutoencoderKL',
  config: autoencoderKLConfig,
  spec: autoencoderKLSpec,
  open: async (folder, options) => {
    const { config, weights } = await openModel(folder, 'diffusion_pytorch_model', options);
    return { config, weights: withAttentionNames(weights) };
  },
});
export type AutoencoderKL = PretrainedModel<AutoencoderKLConfig>;

const shape = (config: AutoencoderKLConfig): VaeShape => ({
  imageChannels: config.in_channels,
  outChannels: config.out_channels,
  latentChannels: config.latent_channels,
  levels: config.block_out_channels,
  layers: config.layers_per_block,
  attends: config.mid_block_add_attention,
});

/** Names of attention weights before diffusers 0.18, and since. */
const attentionNames = table<string>({
  query: 'to_q',
  key: 'to_k',
  value: 'to_v',
  proj_attn: 'to_out.0',
});

/** Renames the attention weights of old files. Some of these files store the matrices as 1×1 convolutions. */
function withAttentionNames(weights: ReadonlyMap<string, StoredTensor>): Map<string, StoredTensor> {
  return new Map(
    [...weights].map(([path, tensor]) => {
      const name = path.replace(
        /(\.attentions\.\d+\.)(query|key|value|proj_attn)\./,
        (_, before: string, old: string) => `${before}${attentionNames[old]}.`,
      );
      return [name, /\.attentions\.\d+\.to_.*\.weight$/.test(name) ? toMatrix(tensor) : tensor];
    }),
  );
}

/** Reshapes the weight of a 1×1 convolution, `[C, C, 1, 1]`, to a matrix; returns other tensors unchanged. */
export function toMatrix(tensor: StoredTensor): StoredTensor {
  const [out, inner, ...kernel] = tensor.shape;
  if (kernel.length !== 2 || kernel.some((size) => size !== 1)) return tensor;
  return { ...tensor, shape: [out!, inner!], read: () => tensor.read() };
}
