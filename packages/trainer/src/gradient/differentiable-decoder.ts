import { dispose, type Tensor4D } from '@tensorflow/tfjs-core';
import type { CompiledVjp, SavedForward } from '@alignprop/autograd-ext';
import { decodeImages, type StableDiffusionPipeline } from '@alignprop/diffusion';

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
