import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import type { TorchGenerator } from '@alignprop/autograd-ext';

/** Files of skin tones, which repeat a picture five times. */
const skinTone = /1f3f[b-f]/;

/**
 * Reads the 64×64 pictures of an unpacked npm package `emoji-datasource-google` (Noto Emoji, Apache-2.0), on white.
 * @returns `[64, 64, 3]` each, in [-1, 1]
 */
export async function emojiPictures(folder: string): Promise<readonly Float32Array[]> {
  const pictures = join(folder, 'img/google/64');
  const files = readdirSync(pictures)
    .filter((name) => name.endsWith('.png') && !skinTone.test(name))
    .sort();
  return Promise.all(files.map((name) => readPicture(join(pictures, name))));
}

async function readPicture(path: string): Promise<Float32Array> {
  const bytes = await sharp(path)
    .flatten({ background: 'white' })
    .resize(64, 64)
    .toColourspace('srgb')
    .raw()
    .toBuffer();
  return Float32Array.from(bytes, (byte) => byte / 127.5 - 1);
}

/** Returns values in a random order. */
export function shuffled<T>(values: readonly T[], source: TorchGenerator): readonly T[] {
  const order = [...source.randn(values.length)].map((key, index) => ({ key, index })).sort((a, b) => a.key - b.key);
  return order.map(({ index }) => values[index]!);
}
