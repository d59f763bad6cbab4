import { add, split, type Tensor, type Tensor3D } from '@tensorflow/tfjs-core';
import { gelu, layerNorm, linear, quickGelu, scaledDotProductAttention } from '@alignprop/autograd-ext';
import type { ParamsSpec } from '@alignprop/autograd-ext/weights';
import { linearSpec, normSpec, repeatSpec, type LinearParams, type NormParams } from '../models/layers.js';

const activations = { quick_gelu: quickGelu, gelu } as const;

/** An activation of a CLIP transformer, in the config's spelling. */
export type ClipActivation = keyof typeof activations;
/** All activations. */
export const clipActivations = Object.keys(activations) as readonly ClipActivation[];

/** The layout of a checkpoint: open_clip's has q, k and v in one matrix and transposed projections. */
export const clipLayouts = ['transformers', 'open_clip'] as const;
export type ClipLayout = (typeof clipLayouts)[number];

/** The fields of a CLIP text or vision config that the transformer uses. */
export interface ClipEncoderConfig {
  readonly layout: ClipLayout;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly hidden_act: ClipActivation;
  readonly layer_norm_eps: number;
}

/** The weights of attention: q, k and v in separate matrices, or stacked as rows of one matrix. */
export type ClipAttentionParams = { out_proj: LinearParams } & (
  { q_proj: LinearParams; k_proj: LinearParams; v_proj: LinearParams } | { in_proj: LinearParams }
);

/** The weights of transformers' `CLIPEncoderLayer`. */
export type ClipEncoderLayerParams = {
  layer_norm1: NormParams;
  self_attn: ClipAttentionParams;
  layer_norm2: NormParams;
  mlp: { fc1: LinearParams; fc2: LinearParams };
};

/** The weights of transformers' `CLIPEncoder`. */
export type ClipEncoderParams = { layers: readonly ClipEncoderLayerParams[] };

/** Returns the weights that a `CLIPEncoder` requires. */
export function clipEncoderSpec({
  layout,
  hidden_size: width,
  intermediate_size: inner,
  num_hidden_layers,
}: ClipEncoderConfig): ParamsSpec {
  const square = () => linearSpec(width, width);
  const inputs = (): Readonly<Record<string, ParamsSpec>> =>
    layout === 'open_clip'
      ? { in_proj: linearSpec(width, 3 * width) }
      : { q_proj: square(), k_proj: square(), v_proj: square() };
  return {
    layers: repeatSpec(num_hidden_layers, () => ({
      layer_norm1: normSpec(width),
      self_attn: { ...inputs(), out_proj: square() },
      layer_norm2: normSpec(width),
      mlp: { fc1: linearSpec(width, inner), fc2: linearSpec(inner, width) },
    })),
  };
}

/**
 * transformers' `CLIPEncoder` on tokens `[B, N, C]`.
 * @param causal whether a token attends only to itself and to earlier tokens
 * @returns the input and the output of every layer, `[B, N, C]` each
 */
export function clipEncoder(
  config: ClipEncoderConfig,
  params: ClipEncoderParams,
  tokens: Tensor3D,
  { causal }: { causal: boolean },
): Tensor3D[] {
  const states = [tokens];
  for (const layer of params.layers) states.push(clipEncoderLayer(config, layer, states.at(-1)!, { causal }));
  return states;
}

/** transformers' `CLIPEncoderLayer`: pre-norm attention and pre-norm MLP, with residual connections. */
function clipEncoderLayer(
  config: ClipEncoderConfig,
  params: ClipEncoderLayerParams,
  tokens: Tensor3D,
  { causal }: { causal: boolean },
): Tensor3D {
  const x = add(
    tokens,
    selfAttention(config, params.self_attn, clipLayerNorm(config, params.layer_norm1, tokens), causal),
  );
  const { fc1, fc2 } = params.mlp;
  const inner = activations[config.hidden_act](
    linear(clipLayerNorm(config, params.layer_norm2, x), fc1.weight, fc1.bias),
  );
  return add(x, linear(inner, fc2.weight, fc2.bias));
}

/** Layer normalisation with the config's epsilon. */
export function clipLayerNorm(
  { layer_norm_eps: eps }: ClipEncoderConfig,
  { weight, bias }: NormParams,
  x: Tensor,
): Tensor {
  return layerNorm(x, weight, bias, { eps });
}

function selfAttention(
  { num_attention_heads: heads }: ClipEncoderConfig,
  params: ClipAttentionParams,
  x: Tensor,
  causal: boolean,
): Tensor {
  const [query, key, value] = queryKeyValue(params, x);
  return linear(
    scaledDotProductAttention(query!, key!, value!, { heads, causal }),
    params.out_proj.weight,
    params.out_proj.bias,
  );
}

/** Projects tokens to query, key and value, `[B, N, C]` each. */
function queryKeyValue(params: ClipAttentionParams, x: Tensor): Tensor3D[] {
  if ('in_proj' in params) return split(linear(x, params.in_proj.weight, params.in_proj.bias) as Tensor3D, 3, 2);
  return [params.q_proj, params.k_proj, params.v_proj].map(({ weight, bias }) => linear(x, weight, bias) as Tensor3D);
}
