import { excerptJson, excerptList } from '@alignprop/autograd-ext/outside';
import {
  anything,
  count,
  counts,
  layerCount,
  oneOf,
  readConfig,
  real,
  reportConfig,
  type ConfigInput,
  type ConfigOf,
} from '@alignprop/diffusion/clip';

// The fields of transformers' YolosConfig that the model reads.
const fields = {
  hidden_size: count(768),
  intermediate_size: count(3072),
  num_hidden_layers: layerCount(12),
  num_attention_heads: count(12),
  num_channels: oneOf([3], 3),
  image_size: counts([512, 864]),
  patch_size: count(16),
  num_detection_tokens: count(100),
  hidden_act: oneOf(['gelu'], 'gelu'),
  layer_norm_eps: real(1e-12),
  qkv_bias: oneOf([true, false], true),
  use_mid_position_embeddings: oneOf([true, false], true),
  id2label: anything<Readonly<Record<string, string>>>({ 0: 'LABEL_0', 1: 'LABEL_1' }),
};

/**
 * transformers' `YolosConfig`, in its spelling. `image_size` is `[height, width]`, for which the position embeddings
 * were trained.
 */
export type YolosConfig = ConfigOf<typeof fields>;

/**
 * Fills in defaults and checks every field.
 * @throws if fields are not supported; lists them all with the supported values
 */
export function yolosConfig(input: ConfigInput): YolosConfig {
  const config = readConfig('YolosForObjectDetection', fields, input);
  const { hidden_size, num_attention_heads, image_size, id2label } = config;
  const problems: string[] = [];
  if (hidden_size % num_attention_heads)
    problems.push(`num_attention_heads got ${num_attention_heads}, expected a divisor of hidden_size ${hidden_size}`);
  if (image_size.length !== 2) problems.push(`image_size got [${image_size}], expected [height, width]`);
  if (typeof id2label !== 'object' || !id2label || !Object.keys(id2label).length)
    problems.push(`id2label got ${excerptJson(id2label)}, expected a label for each class`);
  reportConfig('YolosForObjectDetection', problems);
  return config;
}

/**
 * Returns the class index of a label.
 * @throws if the detector does not know the label; lists those it knows
 */
export function classOf(owner: string, { id2label }: YolosConfig, label: string): number {
  const entry = Object.entries(id2label).find(([, name]) => name === label);
  if (entry) return Number(entry[0]);
  const labels = [...new Set(Object.values(id2label))].filter((name) => name !== 'N/A');
  throw new Error(
    `${owner}: target got '${label}', expected a label that the detector knows: ${excerptList(labels, 100)}.`,
  );
}
