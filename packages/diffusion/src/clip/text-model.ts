import {
  add,
  argMax,
  cast,
  equal,
  expandDims,
  gather,
  mul,
  range,
  slice,
  sum,
  type Tensor,
  type Tensor2D,
  type Tensor3D,
} from '@tensorflow/tfjs-core';
import type { Params } from '@alignprop/autograd-ext';
import type { ParamsSpec } from '@alignprop/autograd-ext/weights';
import { normSpec, type EmbeddingParams, type NormParams } from '../models/layers.js';
import type { PretrainedModel } from '../models/pretrained-model.js';
import { clipTextConfig, type CLIPTextConfig } from './clip-config.js';
import { clipEncoder, clipEncoderSpec, clipLayerNorm, type ClipEncoderParams } from './encoder.js';
import { defineClipModel } from './define-clip-model.js';
import { project, projectionSpec, type ProjectionParams } from './projection.js';

const LEGACY_EOS_TOKEN_ID = 2; // in configs before June 2023, whatever the vocabulary

/** The weights of transformers' `CLIPTextModel`. */
export type CLIPTextModelParams = {
  text_model: {
    embeddings: { token_embedding: EmbeddingParams; position_embedding: EmbeddingParams };
    encoder: ClipEncoderParams;
    final_layer_norm: NormParams;
  };
};
/** The weights of transformers' `CLIPTextModelWithProjection`. */
export type CLIPTextModelWithProjectionParams = CLIPTextModelParams & { text_projection: ProjectionParams };

/** The outputs of a text encoder. */
export interface CLIPTextOutput {
  /** The last layer's output after the final layer normalisation, `[B, L, C]`. */
  readonly lastHiddenState: Tensor3D;
  /** The row of `lastHiddenState` at the end token, `[B, C]`. */
  readonly poolerOutput: Tensor2D;
  /** The embeddings and the output of every layer, before the final layer normalisation; `[B, L, C]` each. */
  readonly hiddenStates: readonly Tensor3D[];
}

/** Returns the weights that a text encoder requires. */
function clipTextSpec(config: CLIPTextConfig) {
  const { vocab_size, max_position_embeddings, hidden_size: width } = config;
  return {
    text_model: {
      embeddings: {
        token_embedding: { weight: { shape: [vocab_size, width] } },
        position_embedding: { weight: { shape: [max_position_embeddings, width] } },
      },
      encoder: clipEncoderSpec(config),
      final_layer_norm: normSpec(width),
    },
  } satisfies ParamsSpec;
}

/** Returns the weights that a text encoder with projection requires. */
export function clipTextWithProjectionSpec(config: CLIPTextConfig) {
  return { ...clipTextSpec(config), text_projection: projectionSpec(config) } satisfies ParamsSpec;
}

/**
 * transformers' `CLIPTextModel` (arXiv 2103.00020, §2.4). Tokens attend to all earlier tokens, padding included:
 * Stable Diffusion passes no attention mask.
 * @param inputIds int32 `[B, L]` with L ≤ `max_position_embeddings`
 */
export function clipText(config: CLIPTextConfig, params: Params, inputIds: Tensor): CLIPTextOutput {
  const { embeddings, encoder, final_layer_norm } = (params as unknown as CLIPTextModelParams).text_model;
  const length = inputIds.shape[1]!;
  const positions = slice(embeddings.position_embedding.weight, 0, length); // [L, C]
  const words = gather(embeddings.token_embedding.weight, inputIds as Tensor2D); // [B, L, C]
  const tokens = add(words, positions) as Tensor3D;
  const hiddenStates = clipEncoder(config, encoder, tokens, { causal: true });
  const lastHiddenState = clipLayerNorm(config, final_layer_norm, hiddenStates.at(-1)!) as Tensor3D;
  return { lastHiddenState, poolerOutput: poolEndToken(config, inputIds, lastHiddenState), hiddenStates };
}

/**
 * The state before the last `clipSkip` layers after the final layer normalisation, `[B, L, C]`: `clip_skip` of
 * diffusers' `StableDiffusionPipeline`.
 */
export function skippedState(config: CLIPTextConfig, params: Params, inputIds: Tensor, clipSkip: number): Tensor3D {
  const { final_layer_norm } = (params as unknown as CLIPTextModelParams).text_model;
  const { hiddenStates } = clipText(config, params, inputIds);
  return clipLayerNorm(config, final_layer_norm, hiddenStates.at(-1 - clipSkip)!) as Tensor3D;
}

/**
 * transformers' `CLIPTextModelWithProjection`: the outputs of `clipText`, and the pooled text in the joint embedding
 * space, `[B, D]`.
 */
export function clipTextWithProjection(
  config: CLIPTextConfig,
  params: Params,
  inputIds: Tensor,
): CLIPTextOutput & { readonly textEmbeds: Tensor2D } {
  const output = clipText(config, params, inputIds);
  const { text_projection } = params as unknown as CLIPTextModelWithProjectionParams;
  return { ...output, textEmbeds: project(output.poolerOutput, text_projection) };
}

/** Selects the row of the first end token: the largest id in the vocabulary if the config has the legacy end token. */
function poolEndToken({ eos_token_id }: CLIPTextConfig, inputIds: Tensor, x: Tensor3D): Tensor2D {
  const scores: Tensor = eos_token_id === LEGACY_EOS_TOKEN_ID ? inputIds : cast(equal(inputIds, eos_token_id), 'int32');
  const end = expandDims(argMax(scores, 1), 1); // [B, 1]
  const chosen = cast(equal(range(0, x.shape[1], 1, 'int32'), end), 'float32'); // [B, L]
  return sum(mul(x, expandDims(chosen, 2)), 1);
}

/** The text encoder of Stable Diffusion. Also loads the text half of a `CLIPModel`'s folder. */
export const CLIPTextModel = defineClipModel('CLIPTextModel', clipTextConfig, clipTextSpec, ['text_model']);
export type CLIPTextModel = PretrainedModel<CLIPTextConfig>;

/** The text encoder of a `CLIPModel` with its projection. */
export const CLIPTextModelWithProjection = defineClipModel(
  'CLIPTextModelWithProjection',
  clipTextConfig,
  clipTextWithProjectionSpec,
  ['text_model', 'text_projection'],
);
export type CLIPTextModelWithProjection = PretrainedModel<CLIPTextConfig>;
