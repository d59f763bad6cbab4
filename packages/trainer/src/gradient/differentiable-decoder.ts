import { dispose, pad, slice, type Tensor4D } from '@tensorflow/tfjs-core';
import type { Compiled, CompiledVjp, SavedForward } from '@alignprop/autograd-ext';
import { decodeImages, pixelsPerLatent, type Decoder, type StableDiffusionPipeline } from '@alignprop/diffusion';

/** A part of the latents that is decoded alone, in latent pixels. */
export interface LatentWindow {
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
}

/**
 * Decodes latents to images, and backpropagates through the decoder: from activations saved for backward if the engine
 * has memory for them, or else by decoding a second time.
 */
export class DifferentiableDecoder {
  readonly #vjp: CompiledVjp;
  readonly #predict: Compiled;

  /**
   * @param decoder makes the images that the reward judges; by default the pipeline's own
   * @throws if it is for other latents, or makes larger images; smaller ones cost less
   */
  constructor(
    { engine, vae, vaeScaleFactor }: StableDiffusionPipeline,
    readonly decoder: Decoder = vae,
  ) {
    checkDecoder(decoder, vae.config.latent_channels, vaeScaleFactor);
    const decode = decodeImages(decoder.config);
    this.#predict = engine.compile(decode);
    this.#vjp = engine.compileVjp(decode, { wrt: [0] });
  }

  /**
   * @param whole `[B, h, w, C]`; they stay the caller's and must outlive the result
   * @param window the part of them that is decoded; all by default
   */
  async decode(whole: Tensor4D, window?: LatentWindow): Promise<DecodedImages> {
    if (!window) return this.#decode(whole);
    const { top, left, height, width } = window;
    const cropped: Tensor4D = slice(whole, [0, top, left, 0], [-1, height, width, -1]);
    const decoded = await this.#decode(cropped).catch((error: unknown) => {
      cropped.dispose();
      throw error;
    });
    const [, h, w] = whole.shape;
    const rest = [
      [0, 0],
      [top, h - top - height],
      [left, w - left - width],
      [0, 0],
    ] as [number, number][];
    return decoded.within(rest);
  }

  async #decode(latents: Tensor4D): Promise<DecodedImages> {
    const { params } = this.decoder;
    const activations = await this.#vjp.forward?.(params, [latents]);
    const [images] = activations?.outputs ?? (await this.#predict(params, latents));
    return new DecodedImages(images as Tensor4D, latents, this, activations);
  }

  /** Decodes again and returns the gradient of the latents, `[B, h, w, C]`. */
  async backward(latents: Tensor4D, imageGradients: Tensor4D): Promise<Tensor4D> {
    const { value, inputs } = await this.#vjp(this.decoder.params, [latents], imageGradients);
    dispose(value);
    return inputs[0] as Tensor4D;
  }
}

/** @throws if a decoder is for other latents, or makes larger images, than the model's own decoder */
function checkDecoder({ config }: Decoder, channels: number, factor: number): void {
  const advice =
    'Take the tiny decoder of this kind of model: taesd for Stable Diffusion 1.x and 2.x, taesdxl for SDXL.';
  if (config.latent_channels !== channels)
    throw new Error(
      `AlignPropTrainer: rewardDecoder got latent_channels ${config.latent_channels}, expected ${channels}, as the ` +
        `model's own decoder has. ${advice}`,
    );
  const pixels = pixelsPerLatent(config);
  if (pixels > factor)
    throw new Error(
      `AlignPropTrainer: rewardDecoder got ${pixels} pixels per latent, expected at most ${factor}, which the ` +
        `model's own decoder has. ${advice}`,
    );
}

/** The rows and columns around a window, for each axis before and after it. */
type Border = readonly (readonly [before: number, after: number])[];

/** Decoded images and the way back to their latents. */
export class DecodedImages {
  /**
   * @param images `[B, H, W, 3]` in [0, 1]; they belong to the caller
   * @param latents what was decoded
   * @param border what is around it; then the latents belong to this object
   */
  constructor(
    readonly images: Tensor4D,
    readonly latents: Tensor4D,
    readonly decoder: DifferentiableDecoder,
    readonly activations: SavedForward | undefined,
    readonly border?: Border,
  ) {}

  /** The same images as those of a window of larger latents. */
  within(border: Border): DecodedImages {
    return new DecodedImages(this.images, this.latents, this.decoder, this.activations, border);
  }

  /**
   * The gradient of the latents, `[B, h, w, C]`, from that of the images, `[B, H, W, 3]`: 0 outside a window. It
   * belongs to the caller.
   */
  async backward(imageGradients: Tensor4D): Promise<Tensor4D> {
    const gradient = await this.#backward(imageGradients);
    if (!this.border) return gradient;
    const whole: Tensor4D = pad(gradient, this.border as [number, number][]);
    gradient.dispose();
    return whole;
  }

  /** Frees the saved activations, and the latents of a window; the images stay. */
  release(): void {
    this.activations?.release();
    if (this.border) this.latents.dispose();
  }

  async #backward(imageGradients: Tensor4D): Promise<Tensor4D> {
    if (!this.activations) return this.decoder.backward(this.latents, imageGradients);
    return (await this.activations.backward(imageGradients)).inputs[0] as Tensor4D;
  }
}
