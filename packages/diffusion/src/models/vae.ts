import { add, reshape, type Tensor3D, type Tensor4D } from '@tensorflow/tfjs-core';
import { conv2d, groupNorm, silu } from '@alignprop/autograd-ext';
import type { ParamsSpec } from '@alignprop/autograd-ext/weights';
import { attention, attentionSpec, type AttentionParams } from './attention.js';
import { conv2dSpec, normSpec, repeatSpec, type Conv2DParams, type NormParams } from './layers.js';
import {
  downsample2D,
  resample2DSpec,
  resnetBlock2D,
  resnetBlock2DSpec,
  upsample2D,
  type GroupNormOptions,
  type Resample2DParams,
  type ResnetBlock2DParams,
} from './resnet.js';

const GROUP_NORM_EPS = 1e-6; // of every group normalisation in the VAE
const MID_BLOCK_RESNETS = 2;

/** The widths and depths of an autoencoder. */
export interface VaeShape {
  readonly imageChannels: number;
  readonly outChannels: number;
  readonly latentChannels: number;
  /** Channels of each level, highest resolution first. */
  readonly levels: readonly number[];
  /** Resnets per level of the encoder; the decoder has one more. */
  readonly layers: number;
  /** Whether the mid blocks have attention. */
  readonly attends: boolean;
}

/** Options of an encoder or decoder. */
export interface VaeOptions {
  readonly groups: number;
}

/** The weights of a mid block's attention. */
export type VaeAttentionParams = AttentionParams & { group_norm: NormParams };

/** Single-head self-attention over all pixels of `[B, H, W, C]`, with group normalisation and a residual connection. */
export function vaeAttention(params: VaeAttentionParams, x: Tensor4D, options: GroupNormOptions): Tensor4D {
  const [batch, height, width, channels] = x.shape;
  const normed = groupNorm(x, params.group_norm.weight, params.group_norm.bias, options);
  const tokens = reshape(normed, [batch, height * width, channels]) as Tensor3D; // [B, H·W, C]
  return add(x, reshape(attention(params, tokens, tokens, { heads: 1 }), x.shape));
}

/** The weights of diffusers' `UNetMidBlock2D`. */
export type VaeMidBlockParams = { resnets: readonly ResnetBlock2DParams[]; attentions?: readonly VaeAttentionParams[] };

/** Returns the weights that a mid block requires. */
function vaeMidBlockSpec(channels: number, { attends }: Pick<VaeShape, 'attends'>): ParamsSpec {
  const attentions = [
    { ...(attentionSpec(channels, channels, { bias: true }) as object), group_norm: normSpec(channels) },
  ] as ParamsSpec;
  return {
    resnets: repeatSpec(MID_BLOCK_RESNETS, () => resnetBlock2DSpec(channels, channels)),
    ...(attends ? { attentions } : {}),
  };
}

/** diffusers' `UNetMidBlock2D`: a resnet, an attention if the block has one, a resnet. */
export function vaeMidBlock({ resnets, attentions }: VaeMidBlockParams, x: Tensor4D, { groups }: VaeOptions): Tensor4D {
  const norm = { groups, eps: GROUP_NORM_EPS };
  let y = resnetBlock2D(resnets[0]!, x, undefined, norm);
  if (attentions) y = vaeAttention(attentions[0]!, y, norm);
  return resnetBlock2D(resnets[1]!, y, undefined, norm);
}

/** The weights of diffusers' `DownEncoderBlock2D`. */
export type DownEncoderBlock2DParams = {
  resnets: readonly ResnetBlock2DParams[];
  downsamplers?: readonly [Resample2DParams];
};

/** diffusers' `DownEncoderBlock2D`: resnets, then downsampling by 2 with padding at the bottom and right. */
export function downEncoderBlock2D(
  { resnets, downsamplers }: DownEncoderBlock2DParams,
  x: Tensor4D,
  { groups }: VaeOptions,
): Tensor4D {
  const y = resnets.reduce((z, resnet) => resnetBlock2D(resnet, z, undefined, { groups, eps: GROUP_NORM_EPS }), x);
  return downsamplers ? downsample2D(downsamplers[0], y, { padding: 0 }) : y;
}

/** The weights of diffusers' `UpDecoderBlock2D`. */
export type UpDecoderBlock2DParams = {
  resnets: readonly ResnetBlock2DParams[];
  upsamplers?: readonly [Resample2DParams];
};

/** diffusers' `UpDecoderBlock2D`: resnets, then upsampling by 2. */
export function upDecoderBlock2D(
  { resnets, upsamplers }: UpDecoderBlock2DParams,
  x: Tensor4D,
  { groups }: VaeOptions,
): Tensor4D {
  const y = resnets.reduce((z, resnet) => resnetBlock2D(resnet, z, undefined, { groups, eps: GROUP_NORM_EPS }), x);
  return upsamplers ? upsample2D(upsamplers[0], y, [2 * y.shape[1], 2 * y.shape[2]]) : y;
}

/** The weights that encoder and decoder have in common. */
type VaeHalfParams = {
  conv_in: Conv2DParams;
  mid_block: VaeMidBlockParams;
  conv_norm_out: NormParams;
  conv_out: Conv2DParams;
};
/** The weights of diffusers' `Encoder`. */
export type VaeEncoderParams = VaeHalfParams & { down_blocks: readonly DownEncoderBlock2DParams[] };
/** The weights of diffusers' `Decoder`. */
export type VaeDecoderParams = VaeHalfParams & { up_blocks: readonly UpDecoderBlock2DParams[] };

/** Returns the weights that an `Encoder` requires. */
export function vaeEncoderSpec(shape: VaeShape): ParamsSpec {
  const { levels, layers } = shape;
  return {
    conv_in: conv2dSpec(shape.imageChannels, levels[0]!, 3),
    down_blocks: levels.map((channels, i) => ({
      resnets: repeatSpec(layers, (j) => resnetBlock2DSpec(j === 0 && i > 0 ? levels[i - 1]! : channels, channels)),
      ...(i < levels.length - 1 ? { downsamplers: [resample2DSpec(channels)] } : {}),
    })),
    mid_block: vaeMidBlockSpec(levels.at(-1)!, shape),
    conv_norm_out: normSpec(levels.at(-1)!),
    conv_out: conv2dSpec(levels.at(-1)!, 2 * shape.latentChannels, 3),
  };
}

/** diffusers' `Encoder`: images `[B, H, W, 3]` to mean and log-variance, `[B, h, w, 2·latentChannels]`. */
export function vaeEncoder(params: VaeEncoderParams, images: Tensor4D, options: VaeOptions): Tensor4D {
  const first = conv2d(images, params.conv_in.weight, params.conv_in.bias, { padding: 1 });
  const x = params.down_blocks.reduce((y, block) => downEncoderBlock2D(block, y, options), first);
  return outputLayers(params, vaeMidBlock(params.mid_block, x, options), options);
}

/** Returns the weights that a `Decoder` requires. */
export function vaeDecoderSpec(shape: VaeShape): ParamsSpec {
  const levels = shape.levels.toReversed();
  return {
    conv_in: conv2dSpec(shape.latentChannels, levels[0]!, 3),
    mid_block: vaeMidBlockSpec(levels[0]!, shape),
    up_blocks: levels.map((channels, i) => ({
      resnets: repeatSpec(shape.layers + 1, (j) =>
        resnetBlock2DSpec(j === 0 && i > 0 ? levels[i - 1]! : channels, channels),
      ),
      ...(i < levels.length - 1 ? { upsamplers: [resample2DSpec(channels)] } : {}),
    })),
    conv_norm_out: normSpec(levels.at(-1)!),
    conv_out: conv2dSpec(levels.at(-1)!, shape.outChannels, 3),
  };
}

/** diffusers' `Decoder`: latents `[B, h, w, latentChannels]` to images `[B, H, W, 3]`. */
export function vaeDecoder(params: VaeDecoderParams, latents: Tensor4D, options: VaeOptions): Tensor4D {
  const first = conv2d(latents, params.conv_in.weight, params.conv_in.bias, { padding: 1 });
  const x = params.up_blocks.reduce(
    (y, block) => upDecoderBlock2D(block, y, options),
    vaeMidBlock(params.mid_block, first, options),
  );
  return outputLayers(params, x, options);
}

/** The output layers of encoder and decoder. */
function outputLayers({ conv_norm_out, conv_out }: VaeHalfParams, x: Tensor4D, { groups }: VaeOptions): Tensor4D {
  const y = groupNorm(x, conv_norm_out.weight, conv_norm_out.bias, { groups, eps: GROUP_NORM_EPS });
  return conv2d(silu(y) as Tensor4D, conv_out.weight, conv_out.bias, { padding: 1 });
}
