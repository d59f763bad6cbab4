import { excerptJson } from '@alignprop/autograd-ext/outside';
import { add, mul, relu, sub, tanh, type Tensor4D } from '@tensorflow/tfjs-core';
import { conv2d, gelu, silu, upsampleNearest, type Kernel, type Params } from '@alignprop/autograd-ext';
import type { FileSource, ParamsSpec } from '@alignprop/autograd-ext/weights';
import { conv2dSpec, type Conv2DParams } from './layers.js';
import {
  anything,
  count,
  counts,
  nullMeans,
  oneOf,
  readConfig,
  real,
  reportConfig,
  type ConfigInput,
  type ConfigOf,
} from './model-config.js';
import { definePretrainedModel, openModel, type LoadModelOptions, type PretrainedModel } from './pretrained-model.js';
import { openOriginalTiny } from './original-tiny.js';

const activations = { relu, silu, swish: silu, gelu } as const;
type Activation = keyof typeof activations;

// Every field of diffusers' AutoencoderTiny that changes what it computes, and those that its files have.
const fields = {
  in_channels: count(3),
  out_channels: count(3),
  encoder_block_out_channels: counts([64, 64, 64, 64]),
  decoder_block_out_channels: counts([64, 64, 64, 64]),
  num_encoder_blocks: counts([1, 3, 3, 3]),
  num_decoder_blocks: counts([3, 3, 3, 1]),
  act_fn: oneOf(Object.keys(activations) as Activation[], 'relu'),
  upsample_fn: oneOf(['nearest'], 'nearest'),
  latent_channels: count(4),
  upsampling_scaling_factor: oneOf([2], 2),
  latent_magnitude: nullMeans(real(3), 3), // used by `forward`, which stores latents as bytes, alone
  latent_shift: nullMeans(real(0.5), 0.5),
  scaling_factor: real(1),
  shift_factor: oneOf([0, null], 0),
  force_upcast: anything<boolean | null>(false), // everything is float32 here
};

/** The config of diffusers' `AutoencoderTiny`, in the file's spelling. */
export type AutoencoderTinyConfig = ConfigOf<typeof fields>;

/** The weights of a layer: a convolution with or without bias, or a residual block. */
type LayerParams = { weight: Kernel; bias?: Conv2DParams['bias'] } | { conv: Readonly<Record<string, Conv2DParams>> };

/** The weights of diffusers' `AutoencoderTiny`: layers by index; activations and upsampling have none. */
export type AutoencoderTinyParams = Readonly<
  Record<'encoder' | 'decoder', { layers: Readonly<Record<string, LayerParams>> }>
>;

/** A layer of encoder or decoder, at the index that diffusers' `nn.Sequential` gives it. */
type Layer =
  | { readonly kind: 'convolution'; readonly from: number; readonly to: number; readonly stride?: 2; bias: boolean }
  | { readonly kind: 'block'; readonly width: number }
  | { readonly kind: 'activation' | 'upsampling' };

/**
 * Fills in diffusers' defaults and validates every field.
 * @throws if values are not supported; lists every such field with the supported values
 */
function autoencoderTinyConfig(input: ConfigInput): AutoencoderTinyConfig {
  const config = readConfig('AutoencoderTiny', fields, input);
  const problems = (['encoder', 'decoder'] as const).flatMap((half) => {
    const [blocks, widths] = [config[`num_${half}_blocks`], config[`${half}_block_out_channels`]];
    const uneven =
      blocks.length === widths.length
        ? []
        : [`num_${half}_blocks got ${blocks.length} entries, expected ${widths.length}, as ${half}_block_out_channels`];
    const differ = widths.some((width) => width !== widths[0])
      ? [`${half}_block_out_channels got ${excerptJson(widths)}, expected equal numbers`]
      : [];
    return [...uneven, ...differ];
  });
  reportConfig('AutoencoderTiny', problems);
  return config;
}

function encoderLayers(config: AutoencoderTinyConfig): readonly Layer[] {
  const widths = config.encoder_block_out_channels;
  const levels = config.num_encoder_blocks.flatMap((blocks, i): Layer[] => {
    const width = widths[i]!;
    const first = { kind: 'convolution', from: config.in_channels, to: width, bias: true } as const;
    const down = { kind: 'convolution', from: width, to: width, stride: 2, bias: false } as const;
    return [i === 0 ? first : down, ...repeated(blocks, width)];
  });
  return [...levels, { kind: 'convolution', from: widths.at(-1)!, to: config.latent_channels, bias: true }];
}

function decoderLayers(config: AutoencoderTinyConfig): readonly Layer[] {
  const widths = config.decoder_block_out_channels;
  const levels = config.num_decoder_blocks.flatMap((blocks, i): Layer[] => {
    const width = widths[i]!;
    const up: Layer[] = [{ kind: 'upsampling' }, { kind: 'convolution', from: width, to: width, bias: false }];
    const last: Layer = { kind: 'convolution', from: width, to: config.out_channels, bias: true };
    return [...repeated(blocks, width), ...(i < widths.length - 1 ? up : [last])];
  });
  const first: Layer = { kind: 'convolution', from: config.latent_channels, to: widths[0]!, bias: true };
  return [first, { kind: 'activation' }, ...levels];
}

const repeated = (blocks: number, width: number): Layer[] =>
  Array.from({ length: blocks }, () => ({ kind: 'block', width }));

/** Returns the weights that a config requires. */
function autoencoderTinySpec(config: AutoencoderTinyConfig): ParamsSpec {
  return {
    encoder: { layers: layersSpec(encoderLayers(config)) },
    decoder: { layers: layersSpec(decoderLayers(config)) },
  };
}

function layersSpec(layers: readonly Layer[]): ParamsSpec {
  return Object.fromEntries(
    layers.flatMap((layer, index) => {
      const spec = layerSpec(layer);
      return spec ? [[`${index}`, spec]] : [];
    }),
  );
}

function layerSpec(layer: Layer): ParamsSpec | undefined {
  if (layer.kind === 'convolution') {
    const { weight, bias } = conv2dSpec(layer.from, layer.to, 3);
    return layer.bias ? { weight, bias } : { weight };
  }
  if (layer.kind !== 'block') return undefined;
  const convolution = () => conv2dSpec(layer.width, layer.width, 3);
  return { conv: { 0: convolution(), 2: convolution(), 4: convolution() } };
}

/**
 * Decodes latents to images: diffusers' `AutoencoderTiny.decode` (TAESD, github.com/madebyollin/taesd).
 * @param latents `[B, h, w, C]`, divided by `scaling_factor`, which is 1 in all published models
 * @returns `[B, f·h, f·w, 3]` in about [-1, 1], not clipped, with f = 2^(levels - 1)
 */
export function tinyDecode(config: AutoencoderTinyConfig, params: Params, latents: Tensor4D): Tensor4D {
  const { decoder } = params as unknown as AutoencoderTinyParams;
  const bounded: Tensor4D = mul(tanh(mul(latents, 1 / 3)), 3);
  const images = runLayers(decoderLayers(config), decoder.layers, bounded, config.act_fn); // [B, H, W, 3] in [0, 1]
  return sub(mul(images, 2), 1);
}

/**
 * Encodes images to latents: diffusers' `AutoencoderTiny.encode`, which has no posterior.
 * @param images `[B, H, W, 3]` in [-1, 1]
 * @returns `[B, h, w, C]`, not yet multiplied by `scaling_factor`
 */
export function tinyEncode(config: AutoencoderTinyConfig, params: Params, images: Tensor4D): Tensor4D {
  const { encoder } = params as unknown as AutoencoderTinyParams;
  return runLayers(encoderLayers(config), encoder.layers, mul(add(images, 1), 0.5), config.act_fn);
}

function runLayers(
  layers: readonly Layer[],
  params: Readonly<Record<string, LayerParams>>,
  input: Tensor4D,
  activation: Activation,
): Tensor4D {
  const activate = activations[activation] as (x: Tensor4D) => Tensor4D;
  return layers.reduce((x, layer, index) => {
    if (layer.kind === 'activation') return activate(x);
    if (layer.kind === 'upsampling') return upsampleNearest(x, [2 * x.shape[1], 2 * x.shape[2]]);
    const weights = params[index]!;
    if ('conv' in weights) return tinyBlock(weights.conv, x, activate);
    const stride = layer.kind === 'convolution' ? layer.stride : undefined;
    return conv2d(x, weights.weight, weights.bias, { padding: 1, stride });
  }, input);
}

/** diffusers' `AutoencoderTinyBlock`: three convolutions beside the identity, then ReLU. */
function tinyBlock(
  conv: Readonly<Record<string, Conv2DParams>>,
  x: Tensor4D,
  activate: (x: Tensor4D) => Tensor4D,
): Tensor4D {
  const convolve = (y: Tensor4D, index: number) => conv2d(y, conv[index]!.weight, conv[index]!.bias, { padding: 1 });
  return relu(add(convolve(activate(convolve(activate(convolve(x, 0)), 2)), 4), x));
}

/**
 * A small autoencoder whose decoder stands in for that of `AutoencoderKL` (TAESD, TAESDXL). Loads a folder of diffusers
 * or the original files (`taesd_encoder` and `taesd_decoder`, `.safetensors` or `.pth`).
 */
export const AutoencoderTiny = definePretrainedModel({
  name: 'AutoencoderTiny',
  config: autoencoderTinyConfig,
  spec: autoencoderTinySpec,
  open: async (folder: FileSource, options: LoadModelOptions) =>
    (await folder.has('config.json'))
      ? openModel(folder, 'diffusion_pytorch_model', options)
      : openOriginalTiny(folder),
});
export type AutoencoderTiny = PretrainedModel<AutoencoderTinyConfig>;
