import { readFile } from 'node:fs/promises';
import { decodePng } from '@alignprop/diffusion';
import type { Pixels } from '@alignprop/rewards';
import { UsageError } from '../terminal/errors.js';

const pngSignature = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);

/**
 * An image file as 8-bit RGB: PNG without help; JPEG, WebP and whatever else sharp reads if that package is installed.
 * @throws if there is no such file, it is damaged, or needs sharp where there is none
 */
export async function readImage(path: string): Promise<Pixels> {
  const file = await readFile(path).catch((cause: unknown) => {
    throw new UsageError(`image: cannot read '${path}': ${(cause as Error).message}`, { cause });
  });
  try {
    return pngSignature.every((byte, i) => file[i] === byte) ? decodePng(file) : await decodeBySharp(file);
  } catch (cause) {
    throw new Error(`image: '${path}': ${(cause as Error).message}`, { cause });
  }
}

async function decodeBySharp(file: Uint8Array): Promise<Pixels> {
  const { default: sharp } = await import('sharp').catch((cause: unknown) => {
    throw new Error(
      "this is no PNG file, and other formats are read by the package sharp, which is not installed here. Convert it to PNG, or 'npm install sharp'.",
      { cause },
    );
  });
  // Turned as its camera says; what is transparent is left out, as in PNG files.
  const { data, info } = await sharp(file)
    .rotate()
    .removeAlpha()
    .toColourspace('srgb')
    .raw()
    .toBuffer({ resolveWithObject: true });
  return { data: new Uint8Array(data), height: info.height, width: info.width };
}
