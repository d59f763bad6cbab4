import { add, clipByValue, div, mul, type Tensor4D } from '@tensorflow/tfjs-core';
import type { ModelFunction } from '@alignprop/autograd-ext';
import { vaeDecode, type AutoencoderKLConfig } from '../models/autoencoder-kl.js';

/**
 * `(params, latents [B, h, w, C])` to images `[B, H, W, 3]` in [0, 1]; the gradient is zero where a value was clipped.
 */
export function decodeImages(config: AutoencoderKLConfig): ModelFunction {
  return (params, latents) => {
    const decoded = vaeDecode(config, params, div(latents as Tensor4D, config.scaling_factor));
    return clipByValue(add(mul(decoded, 0.5), 0.5), 0, 1);
  };
}
