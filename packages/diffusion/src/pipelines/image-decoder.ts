import { add, clipByValue, div, mul, type Tensor4D } from '@tensorflow/tfjs-core';
import type { ModelFunction } from '@alignprop/autograd-ext';
import { decodeLatents, type AutoencoderConfig } from '../models/autoencoder.js';

/**
 * Returns the decoder as a function of `(params, latents [B, h, w, C])` to images `[B, H, W, 3]` clipped to [0, 1]. The
 * gradient of a clipped value is zero.
 */
export function decodeImages(config: AutoencoderConfig): ModelFunction {
  return function imageDecoder(params, latents) {
    const decoded = decodeLatents(config, params, div(latents as Tensor4D, config.scaling_factor));
    return clipByValue(add(mul(decoded, 0.5), 0.5), 0, 1);
  };
}
