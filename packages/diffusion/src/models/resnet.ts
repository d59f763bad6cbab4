import { add, reshape, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { conv2d, groupNorm, linear, silu, upsampleNearest } from '@alignprop/autograd-ext';
import type { ParamsSpec } from '@alignprop/autograd-ext/weights';
import { conv2dSpec, linearSpec, normSpec, type Conv2DParams, type LinearParams, type NormParams } from './layers.js';

/** Options of group normalisation. */
export interface GroupNormOptions {
  readonly groups: number;
  readonly eps: number;
}

/** The weights of diffusers' `ResnetBlock2D`, with a shortcut if the widths differ. */
export type ResnetBlock2DParams = {
  norm1: NormParams;
  conv1: Conv2DParams;
  time_emb_proj?: LinearParams;
  norm2: NormParams;
  conv2: Conv2DParams;
  conv_shortcut?: Conv2DParams;
};

/**
 * Returns the weights that a `ResnetBlock2D` requires.
 * @param timeChannels width of the time embedding; undefined in the VAE, which has none
 */
export function resnetBlock2DSpec(inChannels: number, outChannels: number, timeChannels?: number): ParamsSpec {
  return {
    norm1: normSpec(inChannels),
    conv1: conv2dSpec(inChannels, outChannels, 3),
    ...(timeChannels === undefined ? {} : { time_emb_proj: linearSpec(timeChannels, outChannels) }),
    norm2: normSpec(outChannels),
    conv2: conv2dSpec(outChannels, outChannels, 3),
    ...(inChannels === outChannels ? {} : { conv_shortcut: conv2dSpec(inChannels, outChannels, 1) }),
  };
}

/**
 * diffusers' `ResnetBlock2D`, `[B, H, W, in]` to `[B, H, W, out]`.
 * @param timeEmbedding `[B, D]` or `[1, D]`; required if the block has a `time_emb_proj`
 */
export function resnetBlock2D(
  params: ResnetBlock2DParams,
  x: Tensor4D,
  timeEmbedding: Tensor | undefined,
  options: GroupNormOptions,
): Tensor4D {
  const { norm1, conv1, time_emb_proj, norm2, conv2, conv_shortcut } = params;
  let y = conv2d(silu(groupNorm(x, norm1.weight, norm1.bias, options)) as Tensor4D, conv1.weight, conv1.bias, {
    padding: 1,
  });
  if (time_emb_proj && timeEmbedding) {
    const shift = linear(silu(timeEmbedding), time_emb_proj.weight, time_emb_proj.bias);
    y = add(y, reshape(shift, [-1, 1, 1, shift.shape[1]!])); // [B, 1, 1, out]
  }
  y = conv2d(silu(groupNorm(y, norm2.weight, norm2.bias, options)) as Tensor4D, conv2.weight, conv2.bias, {
    padding: 1,
  });
  return add(conv_shortcut ? conv2d(x, conv_shortcut.weight, conv_shortcut.bias) : x, y);
}

/** The weights of diffusers' `Downsample2D` or `Upsample2D`. */
export type Resample2DParams = { conv: Conv2DParams };

/** Returns the weights that a `Downsample2D` or `Upsample2D` requires. */
export function resample2DSpec(channels: number): ParamsSpec {
  return { conv: conv2dSpec(channels, channels, 3) };
}

/**
 * diffusers' `Downsample2D`: a convolution with stride 2. Padding 0 pads one row at the bottom and one column at the
 * right with zeros, as the VAE's encoder does.
 */
export function downsample2D({ conv }: Resample2DParams, x: Tensor4D, { padding }: { padding: number }): Tensor4D {
  return conv2d(x, conv.weight, conv.bias, { stride: 2, padding: padding === 0 ? [0, 1, 0, 1] : padding });
}

/** diffusers' `Upsample2D`: nearest-neighbour upsampling to `[height, width]`, then a convolution. */
export function upsample2D({ conv }: Resample2DParams, x: Tensor4D, size: [height: number, width: number]): Tensor4D {
  return conv2d(upsampleNearest(x, size), conv.weight, conv.bias, { padding: 1 });
}
