import type { StoredTensor } from '@alignprop/autograd-ext';
import { withTransformersNames } from '../clip/open-clip.js';
import type { ConfigInput } from '../models/model-config.js';
import type { CheckpointKind, Weights } from './checkpoint-kind.js';
import { rowsOf, transposed } from './tensor-views.js';

/** A text encoder within a checkpoint: its weights under transformers' names, and its config. */
export interface TextLayout {
  readonly weights: Weights;
  readonly config: ConfigInput;
}

/** Opens the text encoders of a checkpoint: one, or SDXL's two. */
export function textLayouts(weights: Weights, kind: CheckpointKind): readonly [TextLayout, TextLayout?] {
  if (kind === 'Stable Diffusion 1.x') return [clipLayout(weights, 'cond_stage_model.transformer.')];
  // Stable Diffusion 2.x takes the state before the last layer, which diffusers' model leaves out.
  if (kind === 'Stable Diffusion 2.x') return [openClipLayout(weights, 'cond_stage_model.model.', 1)];
  return [
    clipLayout(weights, 'conditioner.embedders.0.transformer.'),
    openClipLayout(weights, 'conditioner.embedders.1.model.', 0),
  ];
}

const below = (weights: Weights, prefix: string): [string, StoredTensor][] =>
  [...weights].filter(([key]) => key.startsWith(prefix)).map(([key, tensor]) => [key.slice(prefix.length), tensor]);

/** CLIP in transformers' names, of which some merged files lack `text_model.`. */
function clipLayout(weights: Weights, prefix: string): TextLayout {
  const named = below(weights, prefix).map(([key, tensor]): [string, StoredTensor] => [
    /^text_(model|projection)\./.test(key) ? key : `text_model.${key}`,
    tensor,
  ]);
  const own = new Map(named.filter(([key]) => !/position_ids$|^text_projection\./.test(key)));
  return { weights: own, config: textConfig(own, 'quick_gelu') };
}

/** open_clip's text encoder, with one matrix for q, k and v, and a transposed projection. */
function openClipLayout(weights: Weights, prefix: string, skippedLayers: number): TextLayout {
  const named = [...withTransformersNames(new Map(below(weights, prefix)))].flatMap(([key, tensor]) =>
    split(key, tensor),
  );
  const layers = layerCount(named.map(([key]) => key)) - skippedLayers;
  const isKept = (key: string) =>
    !/^(logit_scale|attn_mask)$/.test(key) &&
    Number(/^text_model\.encoder\.layers\.(\d+)\./.exec(key)?.[1] ?? 0) < layers &&
    !(skippedLayers > 0 && key === 'text_projection.weight');
  const own = new Map(named.filter(([key]) => isKept(key)));
  return { weights: own, config: textConfig(own, 'gelu') };
}

/** Splits the stacked q, k and v into views of its rows, and transposes the projection. */
function split(key: string, tensor: StoredTensor): [string, StoredTensor][] {
  const [, module, name] = /^(.*\.self_attn)\.in_proj\.(weight|bias)$/.exec(key) ?? [];
  if (module !== undefined) {
    const rows = tensor.shape[0]! / 3;
    return ['q_proj', 'k_proj', 'v_proj'].map((part, i) => [
      `${module}.${part}.${name}`,
      rowsOf(tensor, i * rows, rows),
    ]);
  }
  return key === 'text_projection.matrix' ? [['text_projection.weight', transposed(tensor)]] : [[key, tensor]];
}

const layerCount = (keys: readonly string[]): number =>
  1 + Math.max(-1, ...keys.map((key) => Number(/^text_model\.encoder\.layers\.(\d+)\./.exec(key)?.[1] ?? -1)));

const HEAD_WIDTH = 64; // of all published models

function textConfig(weights: Weights, activation: string): ConfigInput {
  const shape = (key: string): readonly number[] => weights.get(key)?.shape ?? [];
  const [vocabulary, width] = shape('text_model.embeddings.token_embedding.weight');
  const projection = shape('text_projection.weight')[0];
  return {
    vocab_size: vocabulary,
    hidden_size: width,
    intermediate_size: shape('text_model.encoder.layers.0.mlp.fc1.weight')[0],
    num_hidden_layers: layerCount([...weights.keys()]),
    num_attention_heads: Math.max(1, (width ?? 0) / HEAD_WIDTH),
    max_position_embeddings: shape('text_model.embeddings.position_embedding.weight')[0],
    hidden_act: activation,
    eos_token_id: 2, // the old value, for which transformers pools at the largest id
    ...(projection !== undefined && { projection_dim: projection }),
  };
}
