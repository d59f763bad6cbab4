import type { TorchGenerator } from '@alignprop/autograd-ext';
import type { RgbImage } from '@alignprop/diffusion';

/** A picture to train on beside the reward, and its caption. It has one of `image` and `latents`. */
export interface DataExample {
  readonly caption: string;
  /** `[H, W, 3]`, 8 bits, of the size that is trained. The VAE encodes it each time that it is drawn. */
  readonly image?: RgbImage;
  /** Its latents `[h, w, C]`, times the VAE's scaling factor: what `encodeExample` and `priorExamples` return. */
  readonly latents?: Float32Array;
}

/**
 * Returns a picture to train on. Draw from `generator`, which checkpoints save, so that a resumed run draws what an
 * uninterrupted one would.
 */
export type DataFunction = (generator: TorchGenerator) => DataExample | Promise<DataExample>;

/** The pictures to train on: a list, of which each is drawn equally often, or a function that draws one. */
export type Dataset = readonly DataExample[] | DataFunction;

/**
 * Checks an example.
 * @param name names it in the message
 * @param shape of its latents, `[h, w, C]`
 * @param factor pixels per latent along one side
 * @throws if it has no caption, no picture or two, or one of another size
 */
export function checkExample(
  name: string,
  { caption, image, latents }: DataExample,
  [height, width, channels]: readonly [number, number, number],
  factor: number,
): void {
  const refuse = (what: string) => {
    throw new Error(`${name} ${what}`);
  };
  if (typeof caption !== 'string') refuse(`has the caption ${String(caption)}, expected a text.`);
  if (!image === !latents) refuse(`has ${image ? 'both' : 'neither'} an image and latents, expected one of them.`);
  const size = [height * factor, width * factor] as const;
  if (image && (image.height !== size[0] || image.width !== size[1] || image.data.length !== size[0] * size[1] * 3))
    refuse(
      `has an image of ${image.height} × ${image.width} with ${image.data.length} bytes, ` +
        `expected ${size.join(' × ')} with 3 a pixel, the size that is trained. Resize it.`,
    );
  if (latents && latents.length !== height * width * channels)
    refuse(
      `has ${latents.length} latents, expected ${height} · ${width} · ${channels} for the size that is trained. ` +
        'Encode it again.',
    );
}
