import type { StoredTensor } from '@alignprop/autograd-ext';
import {
  count,
  layerCount,
  oneOf,
  readConfig,
  real,
  reportConfig,
  tokenCount,
  type ConfigInput,
  type ConfigOf,
} from '@alignprop/diffusion/clip';

// The fields of BLIP's med_config.json that the model reads. BLIP replaces `encoder_width` by the image encoder's
// width.
const textFields = {
  vocab_size: tokenCount(30524),
  hidden_size: count(768),
  intermediate_size: count(3072),
  num_hidden_layers: layerCount(12),
  num_attention_heads: count(12),
  max_position_embeddings: count(512),
  layer_norm_eps: real(1e-12),
  hidden_act: oneOf(['gelu'], 'gelu'),
  position_embedding_type: oneOf(['absolute'], 'absolute'),
  add_cross_attention: oneOf([true], true),
};

/** BLIP's `med_config.json`, in its own spelling. */
export type BlipTextConfig = ConfigOf<typeof textFields>;

/** The sizes of BLIP's image encoder, a ViT. */
export interface BlipVisionConfig {
  readonly width: number;
  readonly depth: number;
  readonly heads: number;
  readonly inner: number;
  readonly patch: number;
  /** Patches in a row and in a column. */
  readonly grid: number;
}

/** The sizes of an ImageReward checkpoint. */
export interface ImageRewardConfig {
  readonly text: BlipTextConfig;
  readonly vision: BlipVisionConfig;
  /** The head's layers: index in the module list, dropouts included, to number of outputs. */
  readonly head: Readonly<Record<string, number>>;
}

const HEAD_WIDTH = 64; // channels of an attention head in all published ViTs

/**
 * Reads the text encoder's sizes from `med_config.json`. No file describes the image encoder and the head: takes their
 * sizes from the weights, or those published where weights are missing.
 * @param options.heads attention heads of the image encoder
 * @throws if fields are not supported; lists them all with the supported values
 */
export function imageRewardConfig(
  med: ConfigInput,
  weights: ReadonlyMap<string, StoredTensor>,
  { heads }: { heads?: number } = {},
): ImageRewardConfig {
  const text = readConfig('ImageReward', textFields, med);
  const { hidden_size, num_attention_heads } = text;
  const vision = visionConfig(weights, heads);
  const problems: string[] = [];
  if (hidden_size % num_attention_heads)
    problems.push(`num_attention_heads got ${num_attention_heads}, expected a divisor of hidden_size ${hidden_size}`);
  if (vision.width % vision.heads)
    problems.push(`visionHeads got ${vision.heads}, expected a divisor of the image encoder's width ${vision.width}`);
  reportConfig('ImageReward', problems);
  return { text, vision, head: headWidths(weights) };
}

function visionConfig(weights: ReadonlyMap<string, StoredTensor>, heads: number | undefined): BlipVisionConfig {
  const size = (key: string, axis: number, published: number) =>
    weights.get(`blip.visual_encoder.${key}`)?.shape[axis] ?? published;
  const width = size('cls_token', 2, 1024);
  const blocks = [...weights.keys()].map((key) => /^blip\.visual_encoder\.blocks\.(\d+)\./.exec(key)?.[1]);
  return {
    width,
    depth: new Set(blocks.filter((block) => block !== undefined)).size || 24,
    heads: heads ?? Math.max(1, Math.floor(width / HEAD_WIDTH)),
    inner: size('blocks.0.mlp.fc1.weight', 0, 4 * width),
    patch: size('patch_embed.proj.weight', 2, 16),
    grid: Math.floor(Math.sqrt(size('pos_embed', 1, 197) - 1)),
  };
}

function headWidths(weights: ReadonlyMap<string, StoredTensor>): Record<string, number> {
  const published = { 0: 1024, 2: 128, 4: 64, 6: 16, 7: 1 };
  return Object.fromEntries(
    Object.entries(published).map(([place, width]) => [
      place,
      weights.get(`mlp.layers.${place}.weight`)?.shape[0] ?? width,
    ]),
  );
}
