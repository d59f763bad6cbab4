import { add, type Tensor, type Tensor3D } from '@tensorflow/tfjs-core';
import { gelu, layerNorm, linear, quickGelu, scaledDotProductAttention } from '@alignprop/autograd-ext';
import type { ParamsSpec } from '@alignprop/autograd-ext/weights';
import { linearSpec, normSpec, repeatSpec, type LinearParams, type NormParams } from '../models/layers.js';

const activations = { quick_gelu: quickGelu, gelu } as const;

/** A CLIP transformer's activation, in the config's spelling. */
export type ClipActivation = keyof typeof activations;
/** All of them. */
export const clipActivations = Object.keys(activations) as readonly ClipActivation[];

/** The fields of a CLIP config, text or vision, that its transformer reads. */
export interface ClipEncoderConfig {
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly hidden_act: ClipActivation;
  readonly layer_norm_eps: number;
}

/** The weights of a `CLIPEncoderLayer`. */
export type ClipEncoderLayerParams = {
  layer_norm1: NormParams;
  self_attn: { q_proj: LinearParams; k_proj: LinearParams; v_proj: LinearParams; out_proj: LinearParams };
  layer_norm2: NormParams;
  mlp: { fc1: LinearParams; fc2: LinearParams };
};

/** The weights of a `CLIPEncoder`. */
export type ClipEncoderParams = { layers: readonly ClipEncoderLayerParams[] };

/** The weights of a `CLIPEncoder`, from its config. */
export function clipEncoderSpec({ hidden_size: width, intermediate_size: inner, num_hidden_layers }: ClipEncoderConfig): ParamsSpec {
  const square = () => linearSpec(width, width);
  return {
    layers: repeatSpec(num_hidden_layers, () => ({
      layer_norm1: normSpec(width),
      self_attn: { q_proj: square(), k_proj: square(), v_proj: square(), out_proj: square() },
      layer_norm2: normSpec(width),
      mlp: { fc1: linearSpec(width, inner), fc2: linearSpec(inner, width) },
    })),
  };
}

/**
 * transformers' `CLIPEncoder` on tokens `[B, N, C]`.
 * @param causal whether a token sees only itself and those before it
 * @returns the input and every layer's output, `[B, N, C]` each
 */
export function clipEncoder(config: ClipEncoderConfig, params: ClipEncoderParams, tokens: Tensor3D, { causal }: { causal: boolean }): Tensor3D[] {
  const states = [tokens];
  for (const layer of params.layers) states.push(clipEncoderLayer(config, layer, states.at(-1)!, { causal }));
  return states;
}

/** transformers' `CLIPEncoderLayer`: attention, then MLP, each on normalised tokens and added to them. */
export function clipEncoderLayer(
  config: ClipEncoderConfig,
  params: ClipEncoderLayerParams,
  tokens: Tensor3D,
  { causal }: { causal: boolean },
): Tensor3D {
  const x = add(tokens, selfAttention(config, params.self_attn, clipLayerNorm(config, params.layer_norm1, tokens), causal));
  const { fc1, fc2 } = params.mlp;
  const inner = activations[config.hidden_act](linear(clipLayerNorm(config, params.layer_norm2, x), fc1.weight, fc1.bias));
  return add(x, linear(inner, fc2.weight, fc2.bias));
}

/** Layer normalisation with the config's epsilon. */
export function clipLayerNorm({ layer_norm_eps: eps }: ClipEncoderConfig, { weight, bias }: NormParams, x: Tensor): Tensor {
  return layerNorm(x, weight, bias, { eps });
}

function selfAttention(
  { num_attention_heads: heads }: ClipEncoderConfig,
  { q_proj, k_proj, v_proj, out_proj }: ClipEncoderLayerParams['self_attn'],
  x: Tensor,
  causal: boolean,
): Tensor {
  const [query, key, value] = [q_proj, k_proj, v_proj].map(({ weight, bias }) => linear(x, weight, bias) as Tensor3D); // [B, N, C]
  return linear(scaledDotProductAttention(query!, key!, value!, { heads, causal }), out_proj.weight, out_proj.bias);
}
