import { add, clipByValue, div, mul, type Tensor4D } from '@tensorflow/tfjs-core';
import type { ModelFunction } from '@alignprop/autograd-ext';
import { decodeLatents, isLinear, type DecoderConfig } from '../models/autoencoder.js';
import { linearDecode } from '../models/linear-decoder.js';

/**
 * Returns the decoder as a function of `(params, latents [B, h, w, C])` to images `[B, H, W, 3]` clipped to [0, 1]. The
 * gradient of a clipped value is zero. Images of a `LinearDecoder` are not clipped.
 */
export function decodeImages(config: DecoderConfig): ModelFunction {
  if (isLinear(config))
    return function linearDecoder(params, latents) {
      return linearDecode(params, latents as Tensor4D);
    };
  return function imageDecoder(params, latents) {
    const decoded = decodeLatents(config, params, div(latents as Tensor4D, config.scaling_factor));
    return clipByValue(add(mul(decoded, 0.5), 0.5), 0, 1);
  };
}
