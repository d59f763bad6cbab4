import {
  anything,
  count,
  layerCount,
  nullMeans,
  oneOf,
  readConfig,
  real,
  reportConfig,
  side,
  tokenCount,
  type ConfigInput,
  type ConfigOf,
} from '../models/model-config.js';
import { clipActivations, clipLayouts } from './encoder.js';

// The fields of transformers' CLIPTextConfig that the model uses, and the layout of the checkpoint.
const textFields = {
  vocab_size: tokenCount(49408),
  hidden_size: count(512),
  intermediate_size: count(2048),
  num_hidden_layers: layerCount(12),
  num_attention_heads: count(8),
  max_position_embeddings: count(77),
  hidden_act: oneOf(clipActivations, 'quick_gelu'),
  layer_norm_eps: real(1e-5),
  eos_token_id: real(49407),
  projection_dim: nullMeans(count(512), 512), // a text encoder without projection may have null
  attention_dropout: anything<number | null>(0), // models are loaded for inference, which has no dropout
  bos_token_id: anything<number | null>(49406),
  pad_token_id: anything<number | null>(1),
  layout: oneOf(clipLayouts, 'transformers'),
};

// The fields of transformers' CLIPVisionConfig that the model uses, and the layout of the checkpoint.
const visionFields = {
  hidden_size: count(768),
  intermediate_size: count(3072),
  num_hidden_layers: layerCount(12),
  num_attention_heads: count(12),
  num_channels: count(3),
  image_size: side(224),
  patch_size: side(32),
  hidden_act: oneOf(clipActivations, 'quick_gelu'),
  layer_norm_eps: real(1e-5),
  projection_dim: count(512),
  attention_dropout: anything<number | null>(0),
  layout: oneOf(clipLayouts, 'transformers'),
};

/** transformers' `CLIPTextConfig`, in the file's spelling. */
export type CLIPTextConfig = ConfigOf<typeof textFields>;
/** transformers' `CLIPVisionConfig`, in the file's spelling. */
export type CLIPVisionConfig = ConfigOf<typeof visionFields>;

/** transformers' `CLIPConfig`, in the file's spelling. */
export interface CLIPConfig {
  readonly text_config: CLIPTextConfig;
  readonly vision_config: CLIPVisionConfig;
  /** The width of the joint embedding space of texts and images. */
  readonly projection_dim: number;
}

/**
 * Reads the config of a `CLIPModel`.
 * @throws if values are not supported; lists every such field with the supported values
 */
export function clipConfig(input: ConfigInput): CLIPConfig {
  const nested = { text_config: {}, vision_config: {}, ...input };
  const [text_config, vision_config] = [clipTextConfig(nested), clipVisionConfig(nested)];
  return { text_config, vision_config, projection_dim: text_config.projection_dim };
}

/**
 * Reads the text config from the config of a text model or of a `CLIPModel`.
 * @throws if values are not supported; lists every such field with the supported values
 */
export function clipTextConfig(input: ConfigInput): CLIPTextConfig {
  const config = readConfig('CLIPTextModel', textFields, half(input, 'text_config'));
  checkHeads('CLIPTextModel', config);
  return config;
}

/**
 * Reads the vision config from the config of a vision model or of a `CLIPModel`.
 * @throws if values are not supported; lists every such field with the supported values
 */
export function clipVisionConfig(input: ConfigInput): CLIPVisionConfig {
  const config = readConfig('CLIPVisionModel', visionFields, half(input, 'vision_config'));
  checkHeads('CLIPVisionModel', config);
  return config;
}

/**
 * Selects one half of a `CLIPModel`'s config. The outer `projection_dim` applies to both halves, and old files override
 * fields in `…_config_dict`.
 */
function half(input: ConfigInput, name: 'text_config' | 'vision_config'): ConfigInput {
  if (typeof input[name] !== 'object' || input[name] === null) return input;
  const projection = input.projection_dim ?? 512;
  return {
    ...(input[name] as ConfigInput),
    ...(input[`${name}_dict`] as ConfigInput | null | undefined),
    projection_dim: projection,
  };
}

function checkHeads(
  owner: string,
  { hidden_size, num_attention_heads }: { hidden_size: number; num_attention_heads: number },
): void {
  if (hidden_size % num_attention_heads === 0) return;
  reportConfig(owner, [
    `num_attention_heads got ${num_attention_heads}, expected a divisor of hidden_size ${hidden_size}`,
  ]);
}
