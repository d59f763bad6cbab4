import type { StoredTensor } from '@alignprop/autograd-ext';
import {
  anything,
  count,
  layerCount,
  oneOf,
  readConfig,
  real,
  tokenCount,
  type ConfigInput,
} from '../models/model-config.js';

// open_clip's configs of models that are published without a config file, under open_clip's names.
const architectures = {
  'ViT-B-32': {
    embed_dim: 512,
    vision_cfg: { layers: 12, width: 768, patch_size: 32 },
    text_cfg: { width: 512, heads: 8, layers: 12 },
  },
  'ViT-L-14': {
    embed_dim: 768,
    vision_cfg: { layers: 24, width: 1024, patch_size: 14 },
    text_cfg: { width: 768, heads: 12, layers: 12 },
  },
  'ViT-H-14': {
    embed_dim: 1024,
    vision_cfg: { layers: 32, width: 1280, head_width: 80, patch_size: 14 },
    text_cfg: { width: 1024, heads: 16, layers: 24 },
  },
  'ViT-bigG-14': {
    embed_dim: 1280,
    vision_cfg: { layers: 48, width: 1664, head_width: 104, mlp_ratio: 4.9231, patch_size: 14 },
    text_cfg: { width: 1280, heads: 20, layers: 32 },
  },
} as const;

/** The name of an open_clip model; `-quickgelu` selects the activation x σ(1.702 x) of OpenAI's models. */
export type ClipArchitecture = keyof typeof architectures | `${keyof typeof architectures}-quickgelu`;

/**
 * Returns the config of an open_clip model by its name.
 * @throws if the name is unknown
 */
export function clipArchitecture(name: ClipArchitecture): ConfigInput {
  const [, base = '', suffix] = /^(.*?)(-quickgelu)?$/.exec(name)!;
  if (!Object.hasOwn(architectures, base))
    throw new Error(
      `CLIPModel: architecture got '${name}', expected one of ${Object.keys(architectures).join(', ')}, ` +
        'or one of these with -quickgelu.',
    );
  return openClipConfig({ ...architectures[base as keyof typeof architectures], quick_gelu: suffix !== undefined });
}

// The fields of open_clip's model_cfg that affect the computation; most of them have one supported value.
const modelFields = {
  embed_dim: count(512),
  quick_gelu: oneOf([true, false], false),
  custom_text: oneOf([false], false),
  vision_cfg: anything<ConfigInput>({}),
  text_cfg: anything<ConfigInput>({}),
};

const visionFields = {
  layers: layerCount(12),
  width: count(768),
  head_width: count(64),
  mlp_ratio: real(4),
  patch_size: count(16),
  image_size: count(224),
  pool_type: oneOf(['tok'], 'tok'),
  pos_embed_type: oneOf(['learnable'], 'learnable'),
  timm_model_name: oneOf([null], null),
  ls_init_value: oneOf([null], null),
  attentional_pool: oneOf([false], false),
  no_ln_pre: oneOf([false], false),
};

const textFields = {
  context_length: count(77),
  vocab_size: tokenCount(49408),
  width: count(512),
  heads: count(8),
  layers: layerCount(12),
  mlp_ratio: real(4),
  pool_type: oneOf(['argmax'], 'argmax'),
  proj_type: oneOf(['linear'], 'linear'),
  hf_model_name: oneOf([null], null),
  ls_init_value: oneOf([null], null),
  embed_cls: oneOf([false], false),
  no_causal_mask: oneOf([false], false),
};

/**
 * Converts the `model_cfg` of an `open_clip_config.json` to transformers' names.
 * @throws if values are not supported; lists every such field with the supported values
 */
export function openClipConfig(input: ConfigInput): ConfigInput {
  const model = readConfig('CLIPModel (open_clip)', modelFields, input);
  const vision = readConfig('CLIPModel (open_clip vision_cfg)', visionFields, model.vision_cfg);
  const text = readConfig('CLIPModel (open_clip text_cfg)', textFields, model.text_cfg);
  const shared = { layout: 'open_clip', hidden_act: model.quick_gelu ? 'quick_gelu' : 'gelu', layer_norm_eps: 1e-5 };
  return {
    projection_dim: model.embed_dim,
    vision_config: {
      ...shared,
      hidden_size: vision.width,
      intermediate_size: Math.floor(vision.width * vision.mlp_ratio),
      num_hidden_layers: vision.layers,
      num_attention_heads: Math.floor(vision.width / vision.head_width),
      image_size: vision.image_size,
      patch_size: vision.patch_size,
    },
    text_config: {
      ...shared,
      vocab_size: text.vocab_size,
      hidden_size: text.width,
      intermediate_size: Math.floor(text.width * text.mlp_ratio),
      num_hidden_layers: text.layers,
      num_attention_heads: text.heads,
      max_position_embeddings: text.context_length,
      eos_token_id: 2, // the old value, for which transformers pools at the largest id
    },
  };
}

const openClipKey = /^(module\.)?(visual\.|transformer\.resblocks\.)/;

/** Whether the weights have the names of open_clip, or of OpenAI's original CLIP. */
export function isOpenClip(weights: ReadonlyMap<string, StoredTensor>): boolean {
  return [...weights.keys()].some((key) => openClipKey.test(key));
}

// Applied in this order. `matrix` is a transposed projection.
const renames: readonly (readonly [RegExp, string])[] = [
  [/^module\./, ''], // added by torch's DistributedDataParallel
  [/^visual\.proj$/, 'visual_projection.matrix'],
  [/^visual\.conv1\./, 'vision_model.embeddings.patch_embedding.'],
  [/^visual\.class_embedding$/, 'vision_model.embeddings.class_embedding'],
  [/^visual\.positional_embedding$/, 'vision_model.embeddings.position_embedding.weight'],
  [/^visual\.ln_pre\./, 'vision_model.pre_layrnorm.'],
  [/^visual\.ln_post\./, 'vision_model.post_layernorm.'],
  [/^visual\.transformer\./, 'vision_model.transformer.'],
  [/^text_projection$/, 'text_projection.matrix'],
  [/^token_embedding\./, 'text_model.embeddings.token_embedding.'],
  [/^positional_embedding$/, 'text_model.embeddings.position_embedding.weight'],
  [/^ln_final\./, 'text_model.final_layer_norm.'],
  [/^transformer\./, 'text_model.transformer.'],
  [/\.transformer\.resblocks\.(\d+)\./, '.encoder.layers.$1.'],
  [/\.ln_([12])\./, '.layer_norm$1.'],
  [/\.attn\.in_proj_(weight|bias)$/, '.self_attn.in_proj.$1'],
  [/\.attn\.out_proj\./, '.self_attn.out_proj.'],
  [/\.mlp\.c_fc\./, '.mlp.fc1.'],
  [/\.mlp\.c_proj\./, '.mlp.fc2.'],
];

/** Renames open_clip's weights to transformers' names. */
export function withTransformersNames(weights: ReadonlyMap<string, StoredTensor>): Map<string, StoredTensor> {
  return new Map(
    [...weights].map(([key, tensor]) => [
      renames.reduce((name, [pattern, to]) => name.replace(pattern, to), key),
      tensor,
    ]),
  );
}
