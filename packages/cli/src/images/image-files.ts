import { access, constants, mkdir } from 'node:fs/promises';
import { div, tidy, type Tensor4D } from '@tensorflow/tfjs-core';
import { upsampleNearest } from '@alignprop/autograd-ext';
import { writeFileAtomic } from '@alignprop/autograd-ext/weights';
import { encodePng, imageGrid, toUint8 } from '@alignprop/diffusion';

/** Minimum height of an image on a sheet, in pixels. Smaller images are enlarged by an integer factor. */
const sheetHeight = 128;

/** The distance between the images of a sheet and around them, in pixels. */
export const sheetGutter = 4;

/**
 * Creates a folder for output, so that a problem with it shows before a long computation.
 * @throws if it cannot be created or written to
 */
export async function prepareFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
    await access(path, constants.W_OK);
  } catch (cause) {
    throw new Error(`output: cannot write to '${path}': ${(cause as Error).message}. Choose another folder.`, {
      cause,
    });
  }
}

/**
 * Writes images side by side into one PNG file.
 * @param images `[B, H, W, 3]` in [0, 1]; not disposed
 * @param options `columns`: images a row, by default all of them; `parameters`: text stored in the file
 */
export async function writeSheet(
  path: string,
  images: Tensor4D,
  { columns, parameters }: { columns?: number; parameters?: string } = {},
): Promise<void> {
  const [, height, width] = images.shape;
  const scale = Math.ceil(sheetHeight / height);
  const enlarged = tidy(
    () => (scale > 1 ? upsampleNearest(images, [height * scale, width * scale]) : div(images, 1)) as Tensor4D,
  );
  const pixels = await toUint8(enlarged);
  enlarged.dispose();
  const sheet = imageGrid(pixels, { height: height * scale, width: width * scale, columns, gutter: sheetGutter });
  await writeFileAtomic(path, encodePng(sheet.data, { ...sheet, parameters }));
}

/** Names the files of several images: `crab.png` if there is one, else `crab-1.png`, …; of ten `crab-01.png`, … */
export function imageNames(path: string, count: number): readonly string[] {
  if (count === 1) return [path];
  const digits = `${count}`.length;
  return Array.from({ length: count }, (_, i) =>
    path.replace(/(\.[^./\\]*)?$/, `-${`${i + 1}`.padStart(digits, '0')}$1`),
  );
}
