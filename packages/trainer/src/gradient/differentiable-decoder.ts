import { dispose, type Tensor4D } from '@tensorflow/tfjs-core';
import type { CompiledVjp, SavedForward } from '@alignprop/autograd-ext';
import { decodeImages, type Autoencoder, type StableDiffusionPipeline } from '@alignprop/diffusion';

/**
 * Decodes latents to images, and backpropagates through the decoder: from activations saved for backward if the engine
 * has memory for them, or else by decoding a second time.
 */
export class DifferentiableDecoder {
  readonly #vjp: CompiledVjp;

  constructor(readonly pipeline: StableDiffusionPipeline) {
    this.#vjp = pipeline.engine.compileVjp(decodeImages(pipeline.vae.config), { wrt: [0] });
  }

  /** @param latents `[B, h, w, C]`; they stay the caller's and must outlive the result */
  async decode(latents: Tensor4D): Promise<DecodedImages> {
    const activations = await this.#vjp.forward?.(this.pipeline.vae.params, [latents]);
    const images = (activations ? activations.outputs[0] : await this.pipeline.decode(latents)) as Tensor4D;
    return new DecodedImages(images, latents, this, activations);
  }

  /** Decodes again and returns the gradient of the latents, `[B, h, w, C]`. */
  async backward(latents: Tensor4D, imageGradients: Tensor4D): Promise<Tensor4D> {
    const { value, inputs } = await this.#vjp(this.pipeline.vae.params, [latents], imageGradients);
    dispose(value);
    return inputs[0] as Tensor4D;
  }
}

/**
 * Returns the pipeline whose decoder makes the images that the reward judges.
 * @throws if the decoder is for other latents, or makes images of another size
 */
export function judgedBy(pipeline: StableDiffusionPipeline, decoder: Autoencoder | undefined): StableDiffusionPipeline {
  if (!decoder) return pipeline;
  const advice =
    'Take the tiny decoder of this kind of model: taesd for Stable Diffusion 1.x and 2.x, taesdxl for SDXL.';
  const [channels, expected] = [decoder.config.latent_channels, pipeline.vae.config.latent_channels];
  if (channels !== expected)
    throw new Error(
      `AlignPropTrainer: rewardDecoder got latent_channels ${channels}, expected ${expected}, as the model's own ` +
        `decoder has. ${advice}`,
    );
  const decoding = pipeline.with({ vae: decoder });
  if (decoding.vaeScaleFactor !== pipeline.vaeScaleFactor)
    throw new Error(
      `AlignPropTrainer: rewardDecoder got ${decoding.vaeScaleFactor} pixels per latent, expected ` +
        `${pipeline.vaeScaleFactor}, as the model's own decoder has. ${advice}`,
    );
  return decoding;
}

/** Decoded images and the way back to their latents. */
export class DecodedImages {
  /** @param images `[B, H, W, 3]` in [0, 1]; they belong to the caller */
  constructor(
    readonly images: Tensor4D,
    readonly latents: Tensor4D,
    readonly decoder: DifferentiableDecoder,
    readonly activations: SavedForward | undefined,
  ) {}

  /** The gradient of the latents, `[B, h, w, C]`, from that of the images, `[B, H, W, 3]`; it belongs to the caller. */
  async backward(imageGradients: Tensor4D): Promise<Tensor4D> {
    if (!this.activations) return this.decoder.backward(this.latents, imageGradients);
    return (await this.activations.backward(imageGradients)).inputs[0] as Tensor4D;
  }

  /** Frees the saved activations; the images stay. */
  release(): void {
    this.activations?.release();
  }
}
