import type { StoredTensor } from '@alignprop/autograd-ext';
import {
  count,
  oneOf,
  readConfig,
  real,
  reportConfig,
  type ConfigInput,
  type ConfigOf,
} from '@alignprop/diffusion/clip';

// The fields of BLIP's med_config.json that the model reads. Its `encoder_width` is overwritten with that of the image
// encoder.
const textFields = {
  vocab_size: count(30524),
  hidden_size: count(768),
  intermediate_size: count(3072),
  num_hidden_layers: count(12),
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
  /** Outputs of the head's layers, by their place in it, dropouts counted. */
  readonly head: Readonly<Record<string, number>>;
}

const HEAD_WIDTH = 64; // of a ViT's attention heads, in all published ones

/**
 * What `med_config.json` says of the text encoder; the image encoder and the head, which no file describes, are as wide
 * and as deep as their weights, and ImageReward's own where there are none.
 * @param heads of the image encoder's attention
 * @throws naming all unsupported fields, values and what is supported
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
  const size = (key: string, axis: number, otherwise: number) =>
    weights.get(`blip.visual_encoder.${key}`)?.shape[axis] ?? otherwise;
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
