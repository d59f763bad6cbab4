import { add, exp, mul, sub, tidy, type Tensor4D } from '@tensorflow/tfjs-core';
import type { Compiled, Engine, ModelFunction, TorchGenerator } from '@alignprop/autograd-ext';
import { encodeMoments, type Autoencoder, type AutoencoderConfig } from '../models/autoencoder.js';
import { drawNoise } from './latents.js';

/** The VAE's encoder, compiled when an image is encoded. */
export class ImageEncoder {
  #encode: Compiled | undefined;

  constructor(
    readonly engine: Engine,
    readonly vae: Autoencoder,
  ) {}

  /**
   * Encodes images `[B, H, W, 3]` in [0, 1] to latents `[B, h, w, C]`: a sample of the VAE's posterior, with noise of
   * the generator; the tiny VAE has no posterior, and draws none.
   */
  async encode(images: Tensor4D, generator: TorchGenerator): Promise<Tensor4D> {
    this.#encode ??= this.engine.compile(imageMoments(this.vae.config));
    const [mean, logvar] = (await this.#encode(this.vae.params, images)) as [Tensor4D, Tensor4D?];
    try {
      return tidy(() => {
        const sample = logvar ? add(mean, mul(exp(mul(logvar, 0.5)), drawNoise(mean.shape, generator))) : mean;
        return mul(sample, this.vae.config.scaling_factor);
      });
    } finally {
      mean.dispose();
      logvar?.dispose();
    }
  }
}

/** The mean of the posterior and its log-variance; the latents alone of the tiny VAE. */
const imageMoments =
  (config: AutoencoderConfig): ModelFunction =>
  (params, images) => {
    const [mean, logvar] = encodeMoments(config, params, sub(mul(images as Tensor4D, 2), 1));
    return logvar ? [mean, logvar] : mean;
  };
