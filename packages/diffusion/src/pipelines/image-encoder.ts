import { add, exp, mul, sub, tidy, tile, type Tensor4D } from '@tensorflow/tfjs-core';
import type { Compiled, Engine, ModelFunction } from '@alignprop/autograd-ext';
import { encodeMoments, type Autoencoder, type AutoencoderConfig } from '../models/autoencoder.js';
import { drawNoise, type NoiseGenerator } from './latents.js';

/** The VAE's encoder, compiled when an image is encoded. */
export class ImageEncoder {
  #encode: Compiled | undefined;

  constructor(
    readonly engine: Engine,
    readonly vae: Autoencoder,
  ) {}

  /**
   * Encodes images `[B, H, W, 3]` in [0, 1] to latents `[B, h, w, C]`: a sample of the VAE's posterior, with noise of
   * the generator; the tiny VAE has no posterior, and draws none. With a list of generators, returns as many latents:
   * samples of the images, which are taken in turn.
   */
  async encode(images: Tensor4D, generator: NoiseGenerator): Promise<Tensor4D> {
    this.#encode ??= this.engine.compile(imageMoments(this.vae.config));
    const [mean, logvar] = (await this.#encode(this.vae.params, images)) as [Tensor4D, Tensor4D?];
    try {
      return tidy(() => {
        const batch = Array.isArray(generator) ? generator.length : mean.shape[0];
        const inTurn = (moment: Tensor4D): Tensor4D => tile(moment, [batch / moment.shape[0], 1, 1, 1]);
        const centre = inTurn(mean);
        const deviation = logvar && exp(mul(inTurn(logvar), 0.5));
        const sample = deviation ? add(centre, mul(deviation, drawNoise(centre.shape, generator))) : centre;
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
