import { checkOptions } from '@alignprop/autograd-ext';
import type { RgbImage } from './png.js';

/** Options of `imageGrid`. */
export interface ImageGridOptions {
  /** The size of each image, in pixels. */
  height: number;
  width: number;
  /** Images per row; all images in one row by default. */
  columns?: number;
  /** The distance between images and around them, in pixels; 0 by default. */
  gutter?: number;
  /** The colour of pixels that no image covers: red, green and blue from 0 to 255; white by default. */
  background?: readonly [number, number, number];
}

/**
 * Arranges images `[height, width, 3]` of the same size on one sheet, row by row.
 * @throws if there are no images, an image has another size, or `columns` or `gutter` is not an integer in range
 */
export function imageGrid(
  images: readonly Uint8Array[],
  { height, width, columns = images.length, gutter = 0, background = [255, 255, 255], ...others }: ImageGridOptions,
): RgbImage {
  checkOptions('imageGrid', others, ['height', 'width', 'columns', 'gutter', 'background']);
  checkGrid(images, height, width, columns, gutter);
  const rows = Math.ceil(images.length / columns);
  const sheet = blank(
    rows * height + gutterPixels(rows, gutter),
    columns * width + gutterPixels(columns, gutter),
    background,
  );
  images.forEach((image, i) => {
    const top = gutter + Math.floor(i / columns) * (height + gutter);
    const left = gutter + (i % columns) * (width + gutter);
    for (let y = 0; y < height; y++) {
      sheet.data.set(image.subarray(y * width * 3, (y + 1) * width * 3), ((top + y) * sheet.width + left) * 3);
    }
  });
  return sheet;
}

const gutterPixels = (count: number, gutter: number) => (count + 1) * gutter;

function blank(height: number, width: number, color: readonly number[]): RgbImage {
  return { data: Uint8Array.from({ length: height * width * 3 }, (_, i) => color[i % 3]!), height, width };
}

function checkGrid(
  images: readonly Uint8Array[],
  height: number,
  width: number,
  columns: number,
  gutter: number,
): void {
  if (images.length === 0) throw new Error('imageGrid: images got an empty list, expected at least one.');
  const wrong = images.findIndex((image) => image.length !== height * width * 3);
  if (wrong >= 0)
    throw new Error(
      `imageGrid: image ${wrong} got ${images[wrong]!.length} bytes, expected height ${height} × width ${width} × 3.`,
    );
  if (!Number.isInteger(columns) || columns < 1)
    throw new Error(`imageGrid: columns got ${columns}, expected an integer of at least 1.`);
  if (!Number.isInteger(gutter) || gutter < 0)
    throw new Error(`imageGrid: gutter got ${gutter}, expected an integer of at least 0.`);
}
