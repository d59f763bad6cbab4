import { decodePng, encodePng, type RgbImage } from '@alignprop/diffusion';
import type { Tensor4D } from '@tensorflow/tfjs-core';
import { sheetGutter, writeSheet } from './image-files.js';

/** Images with their prompts and rewards, as files of sheets have them in their text. */
export interface ScoredImages {
  /** `[n, H, W, 3]` in [0, 1]; not disposed. */
  readonly images: Tensor4D;
  /** One per image. */
  readonly prompts: readonly string[];
  /** One per image. */
  readonly rewards: ArrayLike<number>;
}

/** Writes images to a sheet whose text has a line for each of them: `crab (reward -3.1416)`. */
export const writeScoredSheet = (
  path: string,
  { images, prompts, rewards }: ScoredImages,
  { columns, remark }: { columns?: number; remark?: string } = {},
): Promise<void> => {
  const lines = prompts.map((prompt, i) => `${prompt} (reward ${rewards[i]!.toFixed(4)})`);
  return writeSheet(path, images, { columns, parameters: [...lines, ...(remark ? [remark] : [])].join('\n') });
};

/** An image of a sheet. */
export interface SheetImage {
  readonly png: Uint8Array;
  /** In pixels. */
  readonly height: number;
  readonly width: number;
  /** Its prompt; the whole text of a sheet that has no lines of prompts. */
  readonly prompt: string;
  /** NaN where the sheet does not tell it. */
  readonly reward: number;
}

/**
 * Cuts a sheet of `writeScoredSheet` into its images, the upper row first. A sheet with another text, or of another
 * size than its text says, is one image.
 * @param png the file
 * @param options `rows` of the sheet; `maxSide`: larger images are averaged down to at most this many pixels a side
 * @throws if it is no PNG file, or a damaged one
 */
export function cutSheet(
  png: Uint8Array,
  { rows = 1, maxSide }: { readonly rows?: number; readonly maxSide: number },
): readonly SheetImage[] {
  const { text, ...sheet } = decodePng(png);
  const { parameters = '' } = text;
  const captions = [...parameters.matchAll(/(.*?) \(reward (\S+)\)(?:\n|$)/gs)];
  const columns = captions.length / rows;
  const [height, width] = [(sheet.height - sheetGutter) / rows, (sheet.width - sheetGutter) / columns].map(
    (side) => side - sheetGutter,
  ) as [number, number];
  const isGrid = [columns, height, width].every((size) => Number.isInteger(size) && size > 0);
  if (!isGrid) return [{ ...encoded(sheet, maxSide), prompt: parameters, reward: NaN }];
  return captions.map(([, prompt, reward], i) => {
    const top = sheetGutter + Math.floor(i / columns) * (height + sheetGutter);
    const left = sheetGutter + (i % columns) * (width + sheetGutter);
    return { ...encoded(crop(sheet, { top, left, height, width }), maxSide), prompt: prompt!, reward: Number(reward) };
  });
}

function crop(
  image: RgbImage,
  { top, left, height, width }: Readonly<Record<'top' | 'left' | 'height' | 'width', number>>,
): RgbImage {
  const data = new Uint8Array(height * width * 3);
  for (let y = 0; y < height; y++) {
    const start = ((top + y) * image.width + left) * 3;
    data.set(image.data.subarray(start, start + width * 3), y * width * 3);
  }
  return { data, height, width };
}

function encoded(image: RgbImage, maxSide: number): Pick<SheetImage, 'png' | 'height' | 'width'> {
  const { data, height, width } = shrunk(image, Math.ceil(Math.max(image.height, image.width) / maxSide));
  return { png: encodePng(data, { height, width }), height, width };
}

/** Averages blocks of `factor` by `factor` pixels; a rest at the edges is cut off. */
function shrunk(image: RgbImage, factor: number): RgbImage {
  if (factor === 1) return image;
  const [height, width] = [image.height, image.width].map((side) => Math.max(1, Math.floor(side / factor))) as [
    number,
    number,
  ];
  const data = new Uint8Array(height * width * 3);
  for (let i = 0; i < data.length; i++) {
    const [y, x] = [Math.floor(i / 3 / width), Math.floor(i / 3) % width];
    let [sum, count] = [0, 0];
    for (let dy = 0; dy < factor && y * factor + dy < image.height; dy++)
      for (let dx = 0; dx < factor && x * factor + dx < image.width; dx++, count++)
        sum += image.data[((y * factor + dy) * image.width + x * factor + dx) * 3 + (i % 3)]!;
    data[i] = Math.round(sum / count);
  }
  return { data, height, width };
}
