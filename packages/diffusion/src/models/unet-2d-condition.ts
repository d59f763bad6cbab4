import { add, concat, mul, reshape, type Tensor, type Tensor3D, type Tensor4D } from '@tensorflow/tfjs-core';
import { conv2d, groupNorm, silu, type Params } from '@alignprop/autograd-ext';
import type { ParamsSpec } from '@alignprop/autograd-ext/weights';
import { timestepEmbedding, timestepMlp, timestepMlpSpec, type TimestepEmbeddingParams } from './embeddings.js';
import { conv2dSpec, normSpec, type Conv2DParams, type NormParams } from './layers.js';
import { definePretrainedModel, openModel, type PretrainedModel } from './pretrained-model.js';
import {
  downBlock2D,
  downBlock2DSpec,
  unetMidBlock2D,
  unetMidBlock2DSpec,
  upBlock2D,
  upBlock2DSpec,
  type DownBlock2DParams,
  type UNetBlockOptions,
  type UNetBlockShape,
  type UNetMidBlock2DParams,
  type UpBlock2DParams,
} from './unet-2d-blocks.js';
import {
  unet2DConditionConfig,
  unetLevels,
  type UNet2DConditionConfig,
  type UNetLevel,
} from './unet-2d-condition-config.js';

export type { UNet2DConditionConfig } from './unet-2d-condition-config.js';

/** The weights of diffusers' `UNet2DConditionModel`. */
export type UNet2DConditionParams = {
  conv_in: Conv2DParams;
  time_embedding: TimestepEmbeddingParams;
  add_embedding?: TimestepEmbeddingParams;
  down_blocks: readonly DownBlock2DParams[];
  mid_block?: UNetMidBlock2DParams;
  up_blocks: readonly UpBlock2DParams[];
  conv_norm_out: NormParams;
  conv_out: Conv2DParams;
};

/** Returns the weights that a config requires. */
function unet2DConditionSpec(config: UNet2DConditionConfig): ParamsSpec {
  const levels = unetLevels(config);
  const first = levels[0]!.channels;
  const time = timeChannels(config);
  return {
    conv_in: conv2dSpec(config.in_channels, first, 3),
    time_embedding: timestepMlpSpec(first, time, config.time_cond_proj_dim),
    ...(config.addition_embed_type === null
      ? {}
      : { add_embedding: timestepMlpSpec(config.projection_class_embeddings_input_dim!, time) }),
    down_blocks: levels.map((level, i) =>
      downBlock2DSpec({
        ...blockShape(config, level, config.down_block_types[i] === 'CrossAttnDownBlock2D'),
        inChannels: levels[Math.max(i - 1, 0)]!.channels,
        resamples: i < levels.length - 1,
      }),
    ),
    ...midBlockSpec(config, midLevel(levels)),
    up_blocks: levels.toReversed().map((level, i, reversed) => {
      const below = reversed[Math.min(i + 1, reversed.length - 1)]!.channels; // channels of the next higher resolution
      const shape = {
        ...blockShape(config, level, config.up_block_types[i] === 'CrossAttnUpBlock2D'),
        inChannels: reversed[Math.max(i - 1, 0)]!.channels,
        layers: level.layers + 1,
        resamples: i < reversed.length - 1,
      };
      return upBlock2DSpec(shape, [...Array.from({ length: level.layers }, () => level.channels), below]);
    }),
    conv_norm_out: normSpec(first),
    conv_out: conv2dSpec(first, config.out_channels, 3),
  };
}

/** The inputs of a UNet that some models have in addition to latents, time and text. */
export interface AddedConditions {
  /** The embedding of the guidance scale, `[B, time_cond_proj_dim]`: latent consistency models. */
  readonly timestepCond?: Tensor;
  /** The pooled output of the second text encoder, `[B, P]`: SDXL. */
  readonly textEmbeds?: Tensor;
  /** Original height and width, crop top and left, target height and width, `[B, 6]`: SDXL (arXiv 2307.01952, §2.2). */
  readonly timeIds?: Tensor;
}

/** Names the added conditions of a model, given in the order in which a compiled UNet takes them. */
export const addedConditions = (
  { addition_embed_type }: Pick<UNet2DConditionConfig, 'addition_embed_type'>,
  inputs: readonly (Tensor | undefined)[],
): AddedConditions =>
  addition_embed_type === null
    ? { timestepCond: inputs[0] }
    : { textEmbeds: inputs[0], timeIds: inputs[1], timestepCond: inputs[2] };

/**
 * diffusers' `UNet2DConditionModel` (arXiv 2112.10752): predicts the noise, velocity or sample, whichever the model was
 * trained for.
 * @param sample noisy latents `[B, h, w, C]`, with any h and w
 * @param timestep float32, `[1]` for all samples or `[B]`
 * @param encoderHiddenStates the output of the text encoder, `[B, L, D]`
 * @param added the inputs that the config asks for in addition
 * @returns `[B, h, w, C]`
 */
export const unet2DCondition = (
  config: UNet2DConditionConfig,
  params: Params,
  sample: Tensor4D,
  timestep: Tensor,
  encoderHiddenStates: Tensor3D,
  added: AddedConditions = {},
): Tensor4D => unetPass(config, params, { sample, timestep, encoderHiddenStates, added }).output;

/** The inputs of one pass of a UNet, as `unet2DCondition` takes them. */
export interface UNetInputs {
  readonly sample: Tensor4D;
  readonly timestep: Tensor;
  readonly encoderHiddenStates: Tensor3D;
  readonly added: AddedConditions;
}

/** Features of an earlier pass, in place of the deep part of a UNet. */
export interface ReusedFeatures {
  /** The index of the up block whose output they are; not the last one. */
  readonly block: number;
  readonly features: Tensor4D;
}

/**
 * Runs a UNet, or with `reused` features (DeepCache, arXiv 2312.00858) only its shallow part: of L levels the first
 * L - 1 - block down blocks, without the last one's downsampler, and the up blocks after `block`.
 * @returns the prediction `[B, h, w, C]`, and the output of each up block that ran
 */
export function unetPass(
  config: UNet2DConditionConfig,
  params: Params,
  { sample, timestep, encoderHiddenStates, added }: UNetInputs,
  reused?: ReusedFeatures,
): { output: Tensor4D; features: ReadonlyMap<number, Tensor4D> } {
  const { conv_in, down_blocks, mid_block, up_blocks, conv_norm_out, conv_out } =
    params as unknown as UNet2DConditionParams;
  const levels = unetLevels(config);
  const blockOptions = levels.map((level) => options(config, level));
  const time = timeEmbedding(config, params as unknown as UNet2DConditionParams, timestep, added);

  let x = conv2d(config.center_input_sample ? add(mul(sample, 2), -1) : sample, conv_in.weight, conv_in.bias, {
    padding: 1,
  });
  const skips = [x];
  shallowBlocks(down_blocks, reused).forEach((block, i) => {
    const down = downBlock2D(block, x, time, encoderHiddenStates, blockOptions[i]!);
    x = down.output;
    skips.push(...down.skips);
  });

  if (reused) x = reused.features;
  else if (mid_block) x = unetMidBlock2D(mid_block, x, time, encoderHiddenStates, options(config, midLevel(levels)));

  const features = new Map<number, Tensor4D>();
  up_blocks.forEach((block, i) => {
    if (reused && i <= reused.block) return;
    const blockSkips = skips.splice(-block.resnets.length).reverse();
    const nextSkip = skips.at(-1);
    const size = nextSkip && heightAndWidth(nextSkip);
    x = upBlock2D(block, x, blockSkips, time, encoderHiddenStates, blockOptions.at(-1 - i)!, size);
    features.set(i, x);
  });

  const { groups, eps } = blockOptions[0]!.resnet;
  x = silu(groupNorm(x, conv_norm_out.weight, conv_norm_out.bias, { groups, eps })) as Tensor4D;
  return { output: conv2d(x, conv_out.weight, conv_out.bias, { padding: 1 }), features };
}

/** The down blocks that give skip connections to the up blocks after `reused.block`; all without reused features. */
function shallowBlocks(
  blocks: readonly DownBlock2DParams[],
  reused: ReusedFeatures | undefined,
): readonly DownBlock2DParams[] {
  if (!reused) return blocks;
  const shallow = blocks.slice(0, -1 - reused.block);
  return shallow.map((block, i) => (i < shallow.length - 1 ? block : { ...block, downsamplers: undefined }));
}

/** Embeds time, and for SDXL pooled text and sizes: `[B, timeChannels]`, or `[1, timeChannels]` for all samples. */
function timeEmbedding(
  config: UNet2DConditionConfig,
  { time_embedding, add_embedding }: Pick<UNet2DConditionParams, 'time_embedding' | 'add_embedding'>,
  timestep: Tensor,
  { timestepCond, textEmbeds, timeIds }: AddedConditions,
): Tensor {
  const time = timestepMlp(time_embedding, timestepEmbedding(timestep, timesteps(config)), timestepCond);
  if (!add_embedding) return time;
  const [batch] = textEmbeds!.shape;
  const sizes = timestepEmbedding(timeIds!, { ...timesteps(config), channels: config.addition_time_embed_dim! });
  return add(time, timestepMlp(add_embedding, concat([textEmbeds!, reshape(sizes, [batch!, -1])], 1)));
}

/** The UNet of Stable Diffusion. */
export const UNet2DConditionModel = definePretrainedModel({
  name: 'UNet2DConditionModel',
  config: unet2DConditionConfig,
  spec: unet2DConditionSpec,
  open: (folder, options) => openModel(folder, 'diffusion_pytorch_model', options),
});
export type UNet2DConditionModel = PretrainedModel<UNet2DConditionConfig>;

const heightAndWidth = ({ shape }: Tensor4D): [height: number, width: number] => [shape[1], shape[2]];

function options(config: UNet2DConditionConfig, { heads, onlyCrossAttention }: UNetLevel): UNetBlockOptions {
  const groups = config.norm_num_groups;
  return {
    resnet: { groups, eps: config.norm_eps },
    transformer: { groups, heads, onlyCrossAttention, linearProjection: config.use_linear_projection },
    downsamplePadding: config.downsample_padding,
  };
}

function blockShape(
  config: UNet2DConditionConfig,
  level: UNetLevel,
  attends: boolean,
): Omit<UNetBlockShape, 'inChannels' | 'resamples'> {
  return {
    ...level,
    outChannels: level.channels,
    timeChannels: timeChannels(config),
    transformerLayers: attends ? level.transformerLayers : 0,
    linearProjection: config.use_linear_projection,
  };
}

/** The mid block is like the last level, but always has self-attention, as in diffusers' `get_mid_block`. */
const midLevel = (levels: readonly UNetLevel[]): UNetLevel => ({ ...levels.at(-1)!, onlyCrossAttention: false });

function midBlockSpec(config: UNet2DConditionConfig, level: UNetLevel): { mid_block?: ParamsSpec } {
  if (config.mid_block_type === null) return {};
  const attends = config.mid_block_type === 'UNetMidBlock2DCrossAttn';
  const shape = {
    ...blockShape(config, { ...level, layers: attends ? 2 : 1 }, attends),
    inChannels: level.channels,
    resamples: false,
  };
  return { mid_block: unetMidBlock2DSpec(shape) };
}

const timeChannels = (config: UNet2DConditionConfig): number =>
  config.time_embedding_dim ?? 4 * config.block_out_channels[0]!;

const timesteps = (config: UNet2DConditionConfig) => ({
  channels: config.block_out_channels[0]!,
  flipSinToCos: config.flip_sin_to_cos,
  freqShift: config.freq_shift,
});
