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
const TRANSFORMER_GROUP_NORM_EPS = 1e-6; // fixed in diffusers, whatever the UNet's norm_eps
const FEED_FORWARD_EXPANSION = 4;

/** The weights of diffusers' `Attention`. `to_out.1` is a dropout and has none. */
export type AttentionParams = {
  to_q: LinearParams;
  to_k: LinearParams;
  to_v: LinearParams;
  to_out: readonly [LinearParams];
};

/**
 * Returns the weights that an `Attention` requires.
 * @param contextChannels width of the input of keys and values; equals `channels` in self-attention
 */
export function attentionSpec(channels: number, contextChannels: number, { bias = false } = {}): ParamsSpec {
  return {
    to_q: linearSpec(channels, channels, { bias }),
    to_k: linearSpec(contextChannels, channels, { bias }),
    to_v: linearSpec(contextChannels, channels, { bias }),
    to_out: [linearSpec(channels, channels)],
  };
}

/** diffusers' `Attention`: queries of x `[B, N, C]` attend to keys and values of context `[B, M, D]`; `[B, N, C]`. */
export function attention(params: AttentionParams, x: Tensor, context: Tensor, { heads }: { heads: number }): Tensor3D {
  const { to_q, to_k, to_v, to_out } = params;
  const query = linear(x, to_q.weight, to_q.bias) as Tensor3D; // [B, N, C]
  const key = linear(context, to_k.weight, to_k.bias) as Tensor3D; // [B, M, C]
  const value = linear(context, to_v.weight, to_v.bias) as Tensor3D; // [B, M, C]
  return linear(scaledDotProductAttention(query, key, value, { heads }), to_out[0].weight, to_out[0].bias) as Tensor3D;
}

/** The weights of diffusers' `FeedForward`. Not a list: `net.1` is a dropout and has no weights. */
export type FeedForwardParams = { net: { 0: { proj: LinearParams }; 2: LinearParams } };

/** Returns the weights that a `FeedForward` requires. */
function feedForwardSpec(channels: number): ParamsSpec {
  const inner = FEED_FORWARD_EXPANSION * channels;
  return { net: { 0: { proj: linearSpec(channels, 2 * inner) }, 2: linearSpec(inner, channels) } };
}

/** diffusers' `FeedForward` with GEGLU (arXiv 2002.05202, §2): the halves of the projection are value and gate. */
export function feedForward({ net }: FeedForwardParams, x: Tensor): Tensor {
  return linear(geglu(linear(x, net[0].proj.weight, net[0].proj.bias)), net[2].weight, net[2].bias);
}

/** The weights of diffusers' `BasicTransformerBlock`. */
export type BasicTransformerBlockParams = {
  norm1: NormParams;
  attn1: AttentionParams;
  norm2: NormParams;
  attn2: AttentionParams;
  norm3: NormParams;
  ff: FeedForwardParams;
};

/** Options of a transformer block. */
export interface TransformerOptions {
  readonly heads: number;
  /** Makes the first attention a cross-attention as well. */
  readonly onlyCrossAttention: boolean;
}

/** Returns the weights that a `BasicTransformerBlock` requires. */
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
 * diffusers' `BasicTransformerBlock` on tokens `[B, N, C]`: self-attention, cross-attention to the context `[B, M, D]`,
 * feed-forward.
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

/** The weights of diffusers' `Transformer2DModel`. */
export type Transformer2DParams = {
  norm: NormParams;
  proj_in: Conv2DParams | LinearParams;
  transformer_blocks: readonly BasicTransformerBlockParams[];
  proj_out: Conv2DParams | LinearParams;
};

/** Options of a spatial transformer. */
export interface Transformer2DOptions extends TransformerOptions {
  readonly groups: number;
  /** Whether `proj_in` and `proj_out` are linear layers (SD 2.x) or 1×1 convolutions (SD 1.x). */
  readonly linearProjection: boolean;
}

/** Returns the weights that a `Transformer2DModel` with `layers` transformer blocks requires. */
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

/** diffusers' `Transformer2DModel` on images `[B, H, W, C]`: each pixel is a token. */
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

/** Applies `proj_in` or `proj_out` to `[B, H, W, C]`. */
function project(
  { weight, bias }: Conv2DParams | LinearParams,
  x: Tensor4D,
  { linearProjection }: Transformer2DOptions,
): Tensor4D {
  return linearProjection ? (linear(x, weight, bias) as Tensor4D) : conv2d(x, weight, bias);
}
