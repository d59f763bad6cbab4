import { add, reshape, type Tensor, type Tensor3D, type Tensor4D } from '@tensorflow/tfjs-core';
import { conv2d, geglu, groupNorm, layerNorm, linear, scaledDotProductAttention } from '@alignprop/autograd-ext';
import type { ParamsSpec } from '@alignprop/autograd-ext/weights';
import {
  conv2dSpec,
  linearSpec,
  normSpec,
  repeatSpec,
  type Conv2DParams,
  type LinearParams,
  type NormParams,
} from './layers.js';

const LAYER_NORM_EPS = 1e-5;
const TRANSFORMER_GROUP_NORM_EPS = 1e-6; // not the UNet's norm_eps
const FEED_FORWARD_EXPANSION = 4;

/** The weights of an `Attention`. Its `to_out.1` is a dropout. */
export type AttentionParams = {
  to_q: LinearParams;
  to_k: LinearParams;
  to_v: LinearParams;
  to_out: readonly [LinearParams];
};

/**
 * The weights of an `Attention`, from its widths.
 * @param contextChannels width of what keys and values are made of; `channels` in self-attention
 */
export function attentionSpec(channels: number, contextChannels: number, { bias = false } = {}): ParamsSpec {
  return {
    to_q: linearSpec(channels, channels, { bias }),
    to_k: linearSpec(contextChannels, channels, { bias }),
    to_v: linearSpec(contextChannels, channels, { bias }),
    to_out: [linearSpec(channels, channels)],
  };
}

/** diffusers `Attention`: queries from x `[B, N, C]`, keys and values from context `[B, M, D]`, to `[B, N, C]`. */
export function attention(params: AttentionParams, x: Tensor, context: Tensor, { heads }: { heads: number }): Tensor3D {
  const { to_q, to_k, to_v, to_out } = params;
  const query = linear(x, to_q.weight, to_q.bias) as Tensor3D; // [B, N, C]
  const key = linear(context, to_k.weight, to_k.bias) as Tensor3D; // [B, M, C]
  const value = linear(context, to_v.weight, to_v.bias) as Tensor3D; // [B, M, C]
  return linear(scaledDotProductAttention(query, key, value, { heads }), to_out[0].weight, to_out[0].bias) as Tensor3D;
}

/** `net.1` is a dropout and has no weights, so the subtree is not a list. */
export type FeedForwardParams = { net: { 0: { proj: LinearParams }; 2: LinearParams } };

/** The weights of a `FeedForward`. */
export function feedForwardSpec(channels: number): ParamsSpec {
  const inner = FEED_FORWARD_EXPANSION * channels;
  return { net: { 0: { proj: linearSpec(channels, 2 * inner) }, 2: linearSpec(inner, channels) } };
}

/** diffusers `FeedForward` with GEGLU (arXiv 2002.05202, §2): the projection's halves are value and gate. */
export function feedForward({ net }: FeedForwardParams, x: Tensor): Tensor {
  return linear(geglu(linear(x, net[0].proj.weight, net[0].proj.bias)), net[2].weight, net[2].bias);
}

/** The weights of a `BasicTransformerBlock`. */
export type BasicTransformerBlockParams = {
  norm1: NormParams;
  attn1: AttentionParams;
  norm2: NormParams;
  attn2: AttentionParams;
  norm3: NormParams;
  ff: FeedForwardParams;
};

/** What a transformer block's shape does not tell. */
export interface TransformerOptions {
  readonly heads: number;
  /** The first attention, too, looks at the context. */
  readonly onlyCrossAttention: boolean;
}

/** The weights of a `BasicTransformerBlock`, from its widths. */
export function basicTransformerBlockSpec(
  channels: number,
  contextChannels: number,
  { onlyCrossAttention }: Pick<TransformerOptions, 'onlyCrossAttention'>,
): ParamsSpec {
  return {
    norm1: normSpec(channels),
    attn1: attentionSpec(channels, onlyCrossAttention ? contextChannels : channels),
    norm2: normSpec(channels),
    attn2: attentionSpec(channels, contextChannels),
    norm3: normSpec(channels),
    ff: feedForwardSpec(channels),
  };
}

/**
 * diffusers `BasicTransformerBlock`: attention to itself, attention to the context `[B, M, D]`, feed-forward; `[B, N,
 * C]`.
 */
export function basicTransformerBlock(
  params: BasicTransformerBlockParams,
  tokens: Tensor,
  context: Tensor,
  { heads, onlyCrossAttention }: TransformerOptions,
): Tensor {
  const norm = (p: NormParams, x: Tensor) => layerNorm(x, p.weight, p.bias, { eps: LAYER_NORM_EPS });
  const first = norm(params.norm1, tokens);
  let x: Tensor = add(tokens, attention(params.attn1, first, onlyCrossAttention ? context : first, { heads }));
  x = add(x, attention(params.attn2, norm(params.norm2, x), context, { heads }));
  return add(x, feedForward(params.ff, norm(params.norm3, x)));
}

/** The weights of a `Transformer2DModel`. */
export type Transformer2DParams = {
  norm: NormParams;
  proj_in: Conv2DParams | LinearParams;
  transformer_blocks: readonly BasicTransformerBlockParams[];
  proj_out: Conv2DParams | LinearParams;
};

/** A spatial transformer's geometry. */
export interface Transformer2DOptions extends TransformerOptions {
  readonly groups: number;
  /** Projections in and out are linear maps of tokens (SD 2.x), not 1×1 convolutions (SD 1.x). */
  readonly linearProjection: boolean;
}

/** The weights of a `Transformer2DModel`, from its widths and its number of transformer blocks. */
export function transformer2DSpec(
  channels: number,
  contextChannels: number,
  layers: number,
  { linearProjection, onlyCrossAttention }: Omit<Transformer2DOptions, 'heads' | 'groups'>,
): ParamsSpec {
  const projection = () => (linearProjection ? linearSpec(channels, channels) : conv2dSpec(channels, channels, 1));
  return {
    norm: normSpec(channels),
    proj_in: projection(),
    transformer_blocks: repeatSpec(layers, () =>
      basicTransformerBlockSpec(channels, contextChannels, { onlyCrossAttention }),
    ),
    proj_out: projection(),
  };
}

/** diffusers `Transformer2DModel` on images `[B, H, W, C]`; tokens are a reshape of them. */
export function transformer2D(
  params: Transformer2DParams,
  x: Tensor4D,
  context: Tensor,
  options: Transformer2DOptions,
): Tensor4D {
  const [batch, height, width, channels] = x.shape;
  const { weight, bias } = params.norm;
  const y = groupNorm(x, weight, bias, { groups: options.groups, eps: TRANSFORMER_GROUP_NORM_EPS }) as Tensor4D;
  let tokens: Tensor = reshape(project(params.proj_in, y, options), [batch, height * width, channels]); // [B, H·W, C]
  for (const block of params.transformer_blocks) tokens = basicTransformerBlock(block, tokens, context, options);
  return add(x, project(params.proj_out, reshape(tokens, x.shape), options));
}

/** Both kinds of projection work on `[B, H, W, C]` alike. */
function project(
  { weight, bias }: Conv2DParams | LinearParams,
  x: Tensor4D,
  { linearProjection }: Transformer2DOptions,
): Tensor4D {
  return linearProjection ? (linear(x, weight, bias) as Tensor4D) : conv2d(x, weight as Tensor, bias);
}
