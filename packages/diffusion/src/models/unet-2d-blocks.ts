import { concat, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import type { ParamsSpec } from '@alignprop/autograd-ext/weights';
import { transformer2D, transformer2DSpec, type Transformer2DOptions, type Transformer2DParams } from './attention.js';
import { repeatSpec } from './layers.js';
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

/** Options of a block of the UNet. */
export interface UNetBlockOptions {
  readonly resnet: GroupNormOptions;
  readonly transformer: Transformer2DOptions;
  /** Padding of the stride-2 convolution at the end of a down block. */
  readonly downsamplePadding: number;
}

/** The widths and depths of a block of the UNet. */
export interface UNetBlockShape {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly timeChannels: number;
  readonly contextChannels: number;
  /** Number of resnets; also of attentions, if the block has attentions. */
  readonly layers: number;
  /** Transformer blocks per attention; 0 for a block without attentions. */
  readonly transformerLayers: number;
  readonly linearProjection: boolean;
  readonly onlyCrossAttention: boolean;
  /** Whether the block ends with downsampling or upsampling. */
  readonly resamples: boolean;
}

/** The weights of `DownBlock2D`, without attentions, or `CrossAttnDownBlock2D`, with one attention per resnet. */
export type DownBlock2DParams = {
  resnets: readonly ResnetBlock2DParams[];
  attentions?: readonly Transformer2DParams[];
  downsamplers?: readonly [Resample2DParams];
};

/** Returns the weights that a down block requires. */
export function downBlock2DSpec(shape: UNetBlockShape): ParamsSpec {
  const { inChannels, outChannels, timeChannels, layers } = shape;
  return {
    resnets: repeatSpec(layers, (i) =>
      resnetBlock2DSpec(i === 0 ? inChannels : outChannels, outChannels, timeChannels),
    ),
    ...attentionsSpec(shape, layers),
    ...(shape.resamples ? { downsamplers: [resample2DSpec(outChannels)] } : {}),
  };
}

/**
 * diffusers' `DownBlock2D` and `CrossAttnDownBlock2D`.
 * @returns the output, and the output of every layer for the skip connections
 */
export function downBlock2D(
  params: DownBlock2DParams,
  x: Tensor4D,
  timeEmbedding: Tensor,
  context: Tensor,
  options: UNetBlockOptions,
): { output: Tensor4D; skips: readonly Tensor4D[] } {
  const skips: Tensor4D[] = [];
  let y = x;
  params.resnets.forEach((resnet, i) => {
    y = layer(resnet, params.attentions?.[i], y, timeEmbedding, context, options);
    skips.push(y);
  });
  if (params.downsamplers) {
    y = downsample2D(params.downsamplers[0], y, { padding: options.downsamplePadding });
    skips.push(y);
  }
  return { output: y, skips };
}

/** The weights of `UNetMidBlock2DCrossAttn`, two resnets and one attention, or `UNetMidBlock2D`, one resnet. */
export type UNetMidBlock2DParams = {
  resnets: readonly ResnetBlock2DParams[];
  attentions?: readonly Transformer2DParams[];
};

/** Returns the weights that a mid block with `layers` resnets requires. */
export function unetMidBlock2DSpec(shape: UNetBlockShape): ParamsSpec {
  const { inChannels, timeChannels, layers } = shape;
  return {
    resnets: repeatSpec(layers, () => resnetBlock2DSpec(inChannels, inChannels, timeChannels)),
    ...attentionsSpec(shape, layers - 1),
  };
}

/** diffusers' `UNetMidBlock2DCrossAttn` and `UNetMidBlock2D`: a resnet, then alternating attentions and resnets. */
export function unetMidBlock2D(
  { resnets, attentions = [] }: UNetMidBlock2DParams,
  x: Tensor4D,
  timeEmbedding: Tensor,
  context: Tensor,
  { resnet, transformer }: UNetBlockOptions,
): Tensor4D {
  let y = resnetBlock2D(resnets[0]!, x, timeEmbedding, resnet);
  attentions.forEach((attention, i) => {
    y = transformer2D(attention, y, context, transformer);
    y = resnetBlock2D(resnets[i + 1]!, y, timeEmbedding, resnet);
  });
  return y;
}

/** The weights of `UpBlock2D`, without attentions, or `CrossAttnUpBlock2D`, with one attention per resnet. */
export type UpBlock2DParams = {
  resnets: readonly ResnetBlock2DParams[];
  attentions?: readonly Transformer2DParams[];
  upsamplers?: readonly [Resample2DParams];
};

/**
 * Returns the weights that an up block requires.
 * @param skipChannels width of the skip connection of each layer
 */
export function upBlock2DSpec(shape: UNetBlockShape, skipChannels: readonly number[]): ParamsSpec {
  const { inChannels, outChannels, timeChannels, layers } = shape;
  return {
    resnets: repeatSpec(layers, (i) =>
      resnetBlock2DSpec((i === 0 ? inChannels : outChannels) + skipChannels[i]!, outChannels, timeChannels),
    ),
    ...attentionsSpec(shape, layers),
    ...(shape.resamples ? { upsamplers: [resample2DSpec(outChannels)] } : {}),
  };
}

/**
 * diffusers' `UpBlock2D` and `CrossAttnUpBlock2D`.
 * @param skips one skip connection per layer, in the order of use
 * @param size `[height, width]` of the next skip connection: the target size of a block that upsamples
 */
export function upBlock2D(
  params: UpBlock2DParams,
  x: Tensor4D,
  skips: readonly Tensor4D[],
  timeEmbedding: Tensor,
  context: Tensor,
  options: UNetBlockOptions,
  size?: [height: number, width: number],
): Tensor4D {
  let y = x;
  params.resnets.forEach((resnet, i) => {
    const joined = concat([y, skips[i]!], 3); // [B, H, W, in + skip]
    y = layer(resnet, params.attentions?.[i], joined, timeEmbedding, context, options);
  });
  return params.upsamplers && size ? upsample2D(params.upsamplers[0], y, size) : y;
}

/** A resnet, and an attention if the block has attentions. */
function layer(
  resnet: ResnetBlock2DParams,
  attention: Transformer2DParams | undefined,
  x: Tensor4D,
  timeEmbedding: Tensor,
  context: Tensor,
  options: UNetBlockOptions,
): Tensor4D {
  const y = resnetBlock2D(resnet, x, timeEmbedding, options.resnet);
  return attention ? transformer2D(attention, y, context, options.transformer) : y;
}

function attentionsSpec(shape: UNetBlockShape, length: number): { attentions?: readonly ParamsSpec[] } {
  const { outChannels, contextChannels, transformerLayers } = shape;
  if (transformerLayers === 0) return {};
  return {
    attentions: repeatSpec(length, () => transformer2DSpec(outChannels, contextChannels, transformerLayers, shape)),
  };
}
