import { excerptJson } from '@alignprop/autograd-ext/outside';
import {
  anything,
  blockLayersPerLevel,
  count,
  countPerLevel,
  counts,
  flagPerLevel,
  listOf,
  nullMeans,
  oneOf,
  optionalCount,
  optionalSize,
  perLevel,
  readConfig,
  real,
  reportConfig,
  spelled,
  type ConfigInput,
  type ConfigOf,
} from './model-config.js';

/** A switch that other model families use. diffusers takes null for false. */
const off = nullMeans(oneOf([false], false), false);
/** Removes the prefix of the names of blocks in configs before diffusers 0.3, as diffusers does. */
const withoutPrefix = (block: string): string => block.replace(/^UNetRes/, '');

// Every field of diffusers' UNet2DConditionModel. Fields with one supported value belong to other model families. Null
// is read as diffusers' constructor reads it: where it fails there, it is refused here.
const fields = {
  sample_size: optionalSize(),
  in_channels: count(4),
  out_channels: count(4),
  center_input_sample: nullMeans(oneOf([false, true], false), false),
  flip_sin_to_cos: nullMeans(oneOf([true, false], true), false),
  freq_shift: real(0),
  down_block_types: spelled(
    listOf(
      ['CrossAttnDownBlock2D', 'DownBlock2D'],
      ['CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'DownBlock2D'],
    ),
    withoutPrefix,
  ),
  mid_block_type: oneOf(['UNetMidBlock2DCrossAttn', 'UNetMidBlock2D', null], 'UNetMidBlock2DCrossAttn'),
  up_block_types: spelled(
    listOf(
      ['UpBlock2D', 'CrossAttnUpBlock2D'],
      ['UpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D'],
    ),
    withoutPrefix,
  ),
  only_cross_attention: flagPerLevel(false),
  mid_block_only_cross_attention: anything<boolean | null>(null), // only UNetMidBlock2DSimpleCrossAttn reads it
  block_out_channels: counts([320, 640, 1280, 1280]),
  layers_per_block: blockLayersPerLevel(2),
  downsample_padding: oneOf([1, 0], 1),
  mid_block_scale_factor: oneOf([1], 1),
  dropout: real(0), // models are loaded for inference, which has no dropout
  act_fn: spelled(oneOf(['silu', 'swish'], 'silu'), (name) => name.toLowerCase()),
  norm_num_groups: count(32),
  norm_eps: real(1e-5),
  cross_attention_dim: countPerLevel(1280),
  transformer_layers_per_block: blockLayersPerLevel(1),
  reverse_transformer_layers_per_block: oneOf([null], null),
  attention_head_dim: countPerLevel(8), // the number of heads: diffusers keeps the wrong name
  num_attention_heads: oneOf([null], null),
  use_linear_projection: nullMeans(oneOf([false, true], false), false),
  upcast_attention: anything<boolean | null>(false), // everything is float32 here
  time_embedding_type: oneOf(['positional'], 'positional'),
  time_embedding_dim: optionalCount(),
  time_embedding_act_fn: oneOf([null], null),
  timestep_post_act: oneOf([null], null),
  time_cond_proj_dim: optionalCount(),
  resnet_time_scale_shift: oneOf(['default'], 'default'),
  resnet_skip_time_act: anything<boolean | null>(false), // only blocks of other model families read it
  resnet_out_scale_factor: anything<number | null>(1), // the same
  conv_in_kernel: oneOf([3], 3),
  conv_out_kernel: oneOf([3], 3),
  dual_cross_attention: off,
  attention_type: nullMeans(oneOf(['default'], 'default'), 'default'),
  cross_attention_norm: oneOf([null], null),
  encoder_hid_dim: oneOf([null], null),
  encoder_hid_dim_type: oneOf([null], null),
  class_embed_type: oneOf([null], null),
  num_class_embeds: oneOf([null], null),
  projection_class_embeddings_input_dim: optionalCount(), // used with addition_embed_type
  class_embeddings_concat: off,
  addition_embed_type: oneOf([null, 'text_time'], null),
  addition_time_embed_dim: optionalCount(), // used with addition_embed_type
  addition_embed_type_num_heads: anything<number | null>(64),
};

/** The config of diffusers' `UNet2DConditionModel`, in the file's spelling. */
export type UNet2DConditionConfig = ConfigOf<typeof fields>;

/** One resolution level of the UNet. */
export interface UNetLevel {
  readonly channels: number;
  readonly heads: number;
  readonly layers: number;
  readonly contextChannels: number;
  readonly transformerLayers: number;
  readonly onlyCrossAttention: boolean;
}

/**
 * Fills in diffusers' defaults and validates every field. Configs before diffusers 0.9 have a `sample_size` of 64 at
 * least, as in diffusers' `StableDiffusionPipeline`.
 * @throws if values are not supported; lists every such field with the supported values
 */
export function unet2DConditionConfig(input: ConfigInput): UNet2DConditionConfig {
  const config = withSampleSize(readConfig('UNet2DConditionModel', fields, input), input._diffusers_version);
  const levels = config.block_out_channels.length;
  const perLevelFields = [
    'down_block_types',
    'up_block_types',
    'only_cross_attention',
    'layers_per_block',
    'cross_attention_dim',
    'transformer_layers_per_block',
    'attention_head_dim',
  ] as const;
  const lengths = perLevelFields
    .filter((name) => Array.isArray(config[name]) && (config[name] as readonly unknown[]).length !== levels)
    .map((name) => `${name} got ${excerptJson(config[name])}, expected ${levels} entries, as block_out_channels has`);
  reportConfig('UNet2DConditionModel', [...lengths, ...missingWidths(config)]);
  reportConfig(
    'UNet2DConditionModel',
    unetLevels(config).flatMap((level) => indivisible(config, level)),
  );
  return config;
}

/** Reports widths that the additional embedding of SDXL needs. */
function missingWidths(config: UNet2DConditionConfig): string[] {
  if (config.addition_embed_type === null) return [];
  return (['addition_time_embed_dim', 'projection_class_embeddings_input_dim'] as const)
    .filter((name) => config[name] === null)
    .map((name) => `${name} got null, expected a positive integer, as addition_embed_type is set`);
}

const MIN_SAMPLE_SIZE = 64;

function withSampleSize(config: UNet2DConditionConfig, version: unknown): UNet2DConditionConfig {
  const { sample_size: size } = config;
  const isOld = typeof version === 'string' && /^0\.[0-8](\D|$)/.test(version);
  return isOld && typeof size === 'number' && size < MIN_SAMPLE_SIZE
    ? { ...config, sample_size: MIN_SAMPLE_SIZE }
    : config;
}

/** Reports group and head counts that do not divide the channels of a level. */
function indivisible({ norm_num_groups }: UNet2DConditionConfig, { channels, heads }: UNetLevel): string[] {
  return [
    ...(channels % norm_num_groups
      ? [`norm_num_groups got ${norm_num_groups}, expected a divisor of ${channels} channels`]
      : []),
    ...(channels % heads ? [`attention_head_dim got ${heads} heads, expected a divisor of ${channels} channels`] : []),
  ];
}

/** Returns the levels, highest resolution first. Up blocks use them in reverse. */
export function unetLevels(config: UNet2DConditionConfig): readonly UNetLevel[] {
  const { length } = config.block_out_channels;
  const heads = perLevel(config.attention_head_dim, length);
  const layers = perLevel(config.layers_per_block, length);
  const contextChannels = perLevel(config.cross_attention_dim, length);
  const transformerLayers = perLevel(config.transformer_layers_per_block, length);
  const onlyCrossAttention = perLevel(config.only_cross_attention, length);
  return config.block_out_channels.map((channels, i) => ({
    channels,
    heads: heads[i]!,
    layers: layers[i]!,
    contextChannels: contextChannels[i]!,
    transformerLayers: transformerLayers[i]!,
    onlyCrossAttention: onlyCrossAttention[i]!,
  }));
}
