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

/** What a block of the UNet needs to know besides its weights. */
export interface UNetBlockOptions {
  readonly resnet: GroupNormOptions;
  readonly transformer: Transformer2DOptions;
  /** Of the stride-2 convolution at the end of a down block. */
  readonly downsamplePadding: number;
}

/** A block's widths and depths. */
export interface UNetBlockShape {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly timeChannels: number;
  readonly contextChannels: number;
  /** Resnets, and as many attentions where the block has any. */
  readonly layers: number;
  /** Transformer blocks an attention; 0 for a block without attention. */
  readonly transformerLayers: number;
  readonly linearProjection: boolean;
  readonly onlyCrossAttention: boolean;
  /** Whether the block ends with a down- or upsampling. */
  readonly resamples: boolean;
}

/** `DownBlock2D` has no attentions, `CrossAttnDownBlock2D` one a resnet. */
export type DownBlock2DParams = {
  resnets: readonly ResnetBlock2DParams[];
  attentions?: readonly Transformer2DParams[];
  downsamplers?: readonly [Resample2DParams];
};

/** The weights of a down block. */
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
 * diffusers `DownBlock2D` and `CrossAttnDownBlock2D`.
 * @returns the output, and every layer's output for the skip connections
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

/** `UNetMidBlock2DCrossAttn` has two resnets and one attention, `UNetMidBlock2D` in a conditional UNet one resnet. */
export type UNetMidBlock2DParams = {
  resnets: readonly ResnetBlock2DParams[];
  attentions?: readonly Transformer2DParams[];
};

/** The weights of a mid block, `layers` counting its resnets. */
export function unetMidBlock2DSpec(shape: UNetBlockShape): ParamsSpec {
  const { inChannels, timeChannels, layers } = shape;
  return {
    resnets: repeatSpec(layers, () => resnetBlock2DSpec(inChannels, inChannels, timeChannels)),
    ...attentionsSpec(shape, layers - 1),
  };
}

/** diffusers `UNetMidBlock2DCrossAttn` and `UNetMidBlock2D`: a resnet, then attention and resnet in turn. */
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

/** `UpBlock2D` has no attentions, `CrossAttnUpBlock2D` one a resnet. */
export type UpBlock2DParams = {
  resnets: readonly ResnetBlock2DParams[];
  attentions?: readonly Transformer2DParams[];
  upsamplers?: readonly [Resample2DParams];
};

/**
 * The weights of an up block.
 * @param skipChannels width of each layer's skip connection
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
 * diffusers `UpBlock2D` and `CrossAttnUpBlock2D`.
 * @param skips one a layer, in the order of use
 * @param size where the block upsamples: to `[height, width]`, the size of the next skip connection
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
