import type { Tensor4D } from '@tensorflow/tfjs-core';
import type { Params } from '@alignprop/autograd-ext';
import { AutoencoderKL, vaeDecode, vaeEncode, type AutoencoderKLConfig } from './autoencoder-kl.js';
import { AutoencoderTiny, tinyDecode, tinyEncode, type AutoencoderTinyConfig } from './autoencoder-tiny.js';
import type { LinearDecoder, LinearDecoderConfig } from './linear-decoder.js';

/** A model that encodes images to latents, and decodes latents to images. */
export type Autoencoder = AutoencoderKL | AutoencoderTiny;
export type AutoencoderConfig = AutoencoderKLConfig | AutoencoderTinyConfig;

/** A model that decodes latents to images. */
export type Decoder = Autoencoder | LinearDecoder;
export type DecoderConfig = AutoencoderConfig | LinearDecoderConfig;

/** The classes of autoencoders by their names in diffusers. */
export const autoencoders = { AutoencoderKL, AutoencoderTiny } as const;
export type AutoencoderClass = keyof typeof autoencoders;

const isTiny = (config: DecoderConfig): config is AutoencoderTinyConfig => 'num_decoder_blocks' in config;

/** Whether a config is that of a `LinearDecoder`. */
export const isLinear = (config: DecoderConfig): config is LinearDecoderConfig => 'decoder_type' in config;

/**
 * Decodes latents to images with either class.
 * @param latents `[B, h, w, C]`, already divided by `scaling_factor`
 * @returns `[B, f·h, f·w, 3]` in about [-1, 1], not clipped, with f = `pixelsPerLatent`
 */
export const decodeLatents = (config: AutoencoderConfig, params: Params, latents: Tensor4D): Tensor4D =>
  isTiny(config) ? tinyDecode(config, params, latents) : vaeDecode(config, params, latents);

/**
 * Encodes images with either class: the mean and log-variance of the posterior, or the latents of the tiny one.
 * @param images `[B, H, W, 3]` in [-1, 1]
 * @returns `[B, h, w, C]` each, not yet multiplied by `scaling_factor`
 */
export function encodeMoments(
  config: AutoencoderConfig,
  params: Params,
  images: Tensor4D,
): readonly [Tensor4D, Tensor4D?] {
  if (isTiny(config)) return [tinyEncode(config, params, images)];
  const { mean, logvar } = vaeEncode(config, params, images);
  return [mean, logvar];
}

/** Pixels per latent along one side. */
export function pixelsPerLatent(config: DecoderConfig): number {
  if (isLinear(config)) return 1;
  return 2 ** ((isTiny(config) ? config.decoder_block_out_channels : config.block_out_channels).length - 1);
}
