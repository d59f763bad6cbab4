import {
  add,
  gather,
  matMul,
  mul,
  reshape,
  slice,
  softmax,
  transpose,
  type Tensor,
  type Tensor2D,
  type Tensor3D,
} from '@tensorflow/tfjs-core';
import { gelu, layerNorm, linear, scaledDotProductAttention } from '@alignprop/autograd-ext';
import type { ParamsSpec } from '@alignprop/autograd-ext/weights';
import {
  linearSpec,
  normSpec,
  repeatSpec,
  type EmbeddingParams,
  type LinearParams,
  type NormParams,
} from '@alignprop/diffusion/clip';
import type { BlipTextConfig } from './image-reward-config.js';

const INVISIBLE = -1e4; // BLIP adds it to the attention scores of padding: e^-10000 is 0

/** The weights of `BertOutput`: a linear map, a residual connection and a normalisation. */
type OutputParams = { dense: LinearParams; LayerNorm: NormParams };

/** The weights of a `BertAttention`. */
type AttentionParams = { self: { query: LinearParams; key: LinearParams; value: LinearParams }; output: OutputParams };

/** The weights of a `BertLayer` with cross-attention. */
type LayerParams = {
  attention: AttentionParams;
  crossattention: AttentionParams;
  intermediate: { dense: LinearParams };
  output: OutputParams;
};

/** The weights of BLIP's `BertModel`. */
export type BlipTextParams = {
  embeddings: { word_embeddings: EmbeddingParams; position_embeddings: EmbeddingParams; LayerNorm: NormParams };
  encoder: { layer: readonly LayerParams[] };
};

/**
 * The keys and shapes of the weights.
 * @param imageWidth channels of the image encoder's tokens
 */
export function blipTextSpec(config: BlipTextConfig, imageWidth: number) {
  const { hidden_size: width, intermediate_size: inner, vocab_size, max_position_embeddings } = config;
  return {
    embeddings: {
      word_embeddings: { weight: { shape: [vocab_size, width] } },
      position_embeddings: { weight: { shape: [max_position_embeddings, width] } },
      LayerNorm: normSpec(width),
    },
    encoder: {
      layer: repeatSpec(config.num_hidden_layers, () => ({
        attention: attentionSpec(width, width),
        crossattention: attentionSpec(width, imageWidth),
        intermediate: { dense: linearSpec(width, inner) },
        output: outputSpec(inner, width),
      })),
    },
  } satisfies ParamsSpec;
}

const outputSpec = (inner: number, width: number) => ({ dense: linearSpec(inner, width), LayerNorm: normSpec(width) });

const attentionSpec = (width: number, other: number) => ({
  self: { query: linearSpec(width, width), key: linearSpec(other, width), value: linearSpec(other, width) },
  output: outputSpec(width, width),
});

/**
 * BLIP's image-grounded text encoder: a BERT whose layers have cross-attention to the image's tokens after their
 * self-attention (arXiv 2201.12086, §3.1; arXiv 1810.04805). Tokens attend to all tokens but padding.
 * @param ids int32 `[B, L]`
 * @param mask float32 `[B, L]`, 1 for tokens and 0 for padding
 * @param image `[B, N, imageWidth]`
 * @returns `[B, L, C]`; the values at padding are meaningless
 */
export function blipText(
  config: BlipTextConfig,
  params: BlipTextParams,
  ids: Tensor2D,
  mask: Tensor2D,
  image: Tensor3D,
): Tensor3D {
  const [batch, length] = ids.shape;
  const { word_embeddings, position_embeddings, LayerNorm } = params.embeddings;
  // [B, L, C]
  const words = reshape(gather(word_embeddings.weight, reshape(ids, [-1])), [batch, length, config.hidden_size]);
  const positions = slice(position_embeddings.weight as Tensor2D, [0, 0], [length, config.hidden_size]);
  const bias = reshape(add(mul(mask, -INVISIBLE), INVISIBLE), [batch, 1, 1, length]);
  const tokens: Tensor = norm(config, LayerNorm, add(words, positions));
  return params.encoder.layer.reduce((x, layer) => blipTextLayer(config, layer, x, bias, image), tokens) as Tensor3D;
}

/** BLIP's `BertLayer`: self-attention, cross-attention and MLP, each with a residual connection and normalised. */
function blipTextLayer(
  config: BlipTextConfig,
  params: LayerParams,
  tokens: Tensor,
  bias: Tensor,
  image: Tensor3D,
): Tensor {
  const { attention, crossattention, intermediate } = params;
  const x = plusOutput(config, attention.output, selfAttention(config, attention, tokens, bias), tokens);
  const y = plusOutput(config, crossattention.output, crossAttention(config, crossattention, x, image), x);
  return plusOutput(config, params.output, gelu(linear(y, intermediate.dense.weight, intermediate.dense.bias)), y);
}

function plusOutput(config: BlipTextConfig, { dense, LayerNorm }: OutputParams, x: Tensor, residual: Tensor): Tensor {
  return norm(config, LayerNorm, add(linear(x, dense.weight, dense.bias), residual));
}

function crossAttention(config: BlipTextConfig, { self }: AttentionParams, tokens: Tensor, image: Tensor3D): Tensor {
  const [q, k, v] = [apply(self.query, tokens), apply(self.key, image), apply(self.value, image)];
  return scaledDotProductAttention(q, k, v, { heads: config.num_attention_heads });
}

/** Self-attention with padding masked. Prompts are short, so the scores fit into memory. */
function selfAttention(
  { num_attention_heads: heads }: BlipTextConfig,
  { self }: AttentionParams,
  tokens: Tensor,
  bias: Tensor,
): Tensor {
  const [batch, length, channels] = tokens.shape as [number, number, number];
  // [B, heads, L, C/heads]
  const split = (x: Tensor) => transpose(reshape(x, [batch, length, heads, channels / heads]), [0, 2, 1, 3]);
  const [q, k, v] = [self.query, self.key, self.value].map((map) => split(apply(map, tokens))) as [
    Tensor,
    Tensor,
    Tensor,
  ];
  const scores = matMul(mul(q, 1 / Math.sqrt(channels / heads)), k, false, true); // [B, heads, L, L]
  return reshape(transpose(matMul(softmax(add(scores, bias)), v), [0, 2, 1, 3]), [batch, length, channels]);
}

const apply = ({ weight, bias }: LinearParams, x: Tensor) => linear(x, weight, bias);
const norm = ({ layer_norm_eps: eps }: BlipTextConfig, { weight, bias }: NormParams, x: Tensor) =>
  layerNorm(x, weight, bias, { eps });
