import { importOptional } from '@alignprop/autograd-ext';
import type { RgbImage } from './png.js';

/** An image of the package sharp, as far as it is used here; sharp's own type is `Sharp`. */
export interface SharpImage {
  jpeg(options?: { quality?: number }): SharpImage;
  png(): SharpImage;
  webp(options?: { quality?: number }): SharpImage;
  resize(width?: number | null, height?: number | null, options?: object): SharpImage;
  toBuffer(): Promise<Uint8Array>;
  toFile(path: string): Promise<object>;
}

interface Raw {
  raw: { width: number; height: number; channels: 3 };
}
type Sharp = (data: Uint8Array, options: Raw) => SharpImage;

// Not written as a literal below: bundlers for browsers would look for the package, which runs in Node alone.
const name = 'sharp';

/** Opens an image with sharp, which is loaded now. @throws if it is not installed */
export async function openSharp({ data, width, height }: RgbImage): Promise<SharpImage> {
  const load = () => import(/* webpackIgnore: true */ /* @vite-ignore */ name) as Promise<{ default: Sharp }>;
  const { default: sharp } = await importOptional(name, load).catch((cause: unknown) => {
    throw new Error(`GeneratedImage: this needs sharp: ${(cause as Error).message}.`, { cause });
  });
  return sharp(data, { raw: { width, height, channels: 3 } });
}
