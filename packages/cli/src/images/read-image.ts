import { readFile } from 'node:fs/promises';
import { importOptional } from '@alignprop/autograd-ext';
import { decodePng, type RgbImage } from '@alignprop/diffusion';
import { UsageError } from '../terminal/errors.js';

/** The most pixels of an image that is not PNG; `decodePng` reads as many. */
const MAX_PIXELS = 33_333_333;
const pngSignature = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);

/**
 * Reads an image file as 8-bit RGB. Decodes PNG itself; JPEG, WebP and other formats need the package sharp.
 * @throws if the file does not exist, is damaged or has more than 33 megapixels, or needs sharp and sharp is not
 *   installed
 */
export async function readImage(path: string): Promise<RgbImage> {
  const file = await readFile(path).catch((cause: unknown) => {
    throw new UsageError(`image: cannot read '${path}': ${(cause as Error).message}`, { cause });
  });
  try {
    return pngSignature.every((byte, i) => file[i] === byte) ? decodePng(file) : await decodeWithSharp(file);
  } catch (cause) {
    throw new Error(`image: '${path}': ${(cause as Error).message}`, { cause });
  }
}

async function decodeWithSharp(file: Uint8Array): Promise<RgbImage> {
  const { default: sharp } = await importOptional('sharp', () => import('sharp')).catch((cause: unknown) => {
    throw new Error(
      `this is not a PNG file, and other formats need sharp: ${(cause as Error).message}, or convert it to PNG.`,
      { cause },
    );
  });
  // Rotates by the EXIF orientation. Drops the alpha channel, as decodePng does.
  const { data, info } = await sharp(file, { limitInputPixels: MAX_PIXELS })
    .rotate()
    .removeAlpha()
    .toColourspace('srgb')
    .raw()
    .toBuffer({ resolveWithObject: true });
  return { data: new Uint8Array(data), height: info.height, width: info.width };
}
