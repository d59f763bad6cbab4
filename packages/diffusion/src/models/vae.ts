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

const GROUP_NORM_EPS = 1e-6; // everywhere in the VAE
const MID_BLOCK_RESNETS = 2;

/** An autoencoder's widths and depths. */
export interface VaeShape {
  readonly imageChannels: number;
  readonly outChannels: number;
  readonly latentChannels: number;
  /** Channels of each level, highest resolution first. */
  readonly levels: readonly number[];
  /** Resnets a level; the decoder has one more. */
  readonly layers: number;
  /** Whether the mid blocks have an attention. */
  readonly attends: boolean;
}

/** What an encoder or decoder needs to know besides its weights. */
export interface VaeOptions {
  readonly groups: number;
}

/** The weights of the attention of a mid block. */
export type VaeAttentionParams = AttentionParams & { group_norm: NormParams };

/**
 * One head of attention over all pixels, with a group normalisation before and the input added after; `[B, H, W, C]`.
 */
export function vaeAttention(params: VaeAttentionParams, x: Tensor4D, options: GroupNormOptions): Tensor4D {
  const [batch, height, width, channels] = x.shape;
  const normed = groupNorm(x, params.group_norm.weight, params.group_norm.bias, options);
  const tokens = reshape(normed, [batch, height * width, channels]) as Tensor3D; // [B, H·W, C]
  return add(x, reshape(attention(params, tokens, tokens, { heads: 1 }), x.shape));
}

/** The weights of a mid block. */
export type VaeMidBlockParams = { resnets: readonly ResnetBlock2DParams[]; attentions?: readonly VaeAttentionParams[] };

/** The weights of a mid block, from its width. */
export function vaeMidBlockSpec(channels: number, { attends }: Pick<VaeShape, 'attends'>): ParamsSpec {
  const attentions = [
    { ...(attentionSpec(channels, channels, { bias: true }) as object), group_norm: normSpec(channels) },
  ] as ParamsSpec;
  return {
    resnets: repeatSpec(MID_BLOCK_RESNETS, () => resnetBlock2DSpec(channels, channels)),
    ...(attends ? { attentions } : {}),
  };
}

/** diffusers `UNetMidBlock2D`: resnet, attention where there is one, resnet. */
export function vaeMidBlock({ resnets, attentions }: VaeMidBlockParams, x: Tensor4D, { groups }: VaeOptions): Tensor4D {
  const norm = { groups, eps: GROUP_NORM_EPS };
  let y = resnetBlock2D(resnets[0]!, x, undefined, norm);
  if (attentions) y = vaeAttention(attentions[0]!, y, norm);
  return resnetBlock2D(resnets[1]!, y, undefined, norm);
}

/** The weights of a `DownEncoderBlock2D`. */
export type DownEncoderBlock2DParams = {
  resnets: readonly ResnetBlock2DParams[];
  downsamplers?: readonly [Resample2DParams];
};

/** diffusers `DownEncoderBlock2D`: resnets, then half the size, the last row and column padded. */
export function downEncoderBlock2D(
  { resnets, downsamplers }: DownEncoderBlock2DParams,
  x: Tensor4D,
  { groups }: VaeOptions,
): Tensor4D {
  const y = resnets.reduce((z, resnet) => resnetBlock2D(resnet, z, undefined, { groups, eps: GROUP_NORM_EPS }), x);
  return downsamplers ? downsample2D(downsamplers[0], y, { padding: 0 }) : y;
}

/** The weights of an `UpDecoderBlock2D`. */
export type UpDecoderBlock2DParams = {
  resnets: readonly ResnetBlock2DParams[];
  upsamplers?: readonly [Resample2DParams];
};

/** diffusers `UpDecoderBlock2D`: resnets, then twice the size. */
export function upDecoderBlock2D(
  { resnets, upsamplers }: UpDecoderBlock2DParams,
  x: Tensor4D,
  { groups }: VaeOptions,
): Tensor4D {
  const y = resnets.reduce((z, resnet) => resnetBlock2D(resnet, z, undefined, { groups, eps: GROUP_NORM_EPS }), x);
  return upsamplers ? upsample2D(upsamplers[0], y, [2 * y.shape[1], 2 * y.shape[2]]) : y;
}

type VaeHalfParams = {
  conv_in: Conv2DParams;
  mid_block: VaeMidBlockParams;
  conv_norm_out: NormParams;
  conv_out: Conv2DParams;
};
/** The weights of an `Encoder`. */
export type VaeEncoderParams = VaeHalfParams & { down_blocks: readonly DownEncoderBlock2DParams[] };
/** The weights of a `Decoder`. */
export type VaeDecoderParams = VaeHalfParams & { up_blocks: readonly UpDecoderBlock2DParams[] };

/** The weights of an `Encoder`, from its widths and depths. */
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

/** diffusers `Encoder`: images `[B, H, W, 3]` to moments `[B, h, w, 2·latentChannels]`. */
export function vaeEncoder(params: VaeEncoderParams, images: Tensor4D, options: VaeOptions): Tensor4D {
  const first = conv2d(images, params.conv_in.weight, params.conv_in.bias, { padding: 1 });
  const x = params.down_blocks.reduce((y, block) => downEncoderBlock2D(block, y, options), first);
  return head(params, vaeMidBlock(params.mid_block, x, options), options);
}

/** The weights of a `Decoder`, from its widths and depths. */
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

/** diffusers `Decoder`: latents `[B, h, w, latentChannels]` to images `[B, H, W, 3]`. */
export function vaeDecoder(params: VaeDecoderParams, latents: Tensor4D, options: VaeOptions): Tensor4D {
  const first = conv2d(latents, params.conv_in.weight, params.conv_in.bias, { padding: 1 });
  const x = params.up_blocks.reduce(
    (y, block) => upDecoderBlock2D(block, y, options),
    vaeMidBlock(params.mid_block, first, options),
  );
  return head(params, x, options);
}

function head({ conv_norm_out, conv_out }: VaeHalfParams, x: Tensor4D, { groups }: VaeOptions): Tensor4D {
  const y = groupNorm(x, conv_norm_out.weight, conv_norm_out.bias, { groups, eps: GROUP_NORM_EPS });
  return conv2d(silu(y) as Tensor4D, conv_out.weight, conv_out.bias, { padding: 1 });
}
