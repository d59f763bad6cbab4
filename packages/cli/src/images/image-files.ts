import { access, constants, mkdir } from 'node:fs/promises';
import { div, tidy, type Tensor4D } from '@tensorflow/tfjs-core';
import { upsampleNearest } from '@alignprop/autograd-ext';
import { writeFileAtomic } from '@alignprop/autograd-ext/weights';
import { encodePng, imageGrid, toUint8 } from '@alignprop/diffusion';

/** Small pictures are enlarged on sheets to at least this height, in whole multiples of their pixels. */
const sheetHeight = 128;

/**
 * Makes a folder, before work whose results are to go there.
 * @throws if it cannot be made or written to
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

/** Writes images `[B, H, W, 3]` in [0, 1], which stay the caller's, side by side into one PNG file. */
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
  const sheet = imageGrid(pixels, { height: height * scale, width: width * scale, columns, gutter: 4 });
  await writeFileAtomic(path, encodePng(sheet.data, { ...sheet, parameters }));
}

/** `crab.png` for one image; `crab-1.png`, `crab-2.png`, … for several. */
export function imageNames(path: string, count: number): readonly string[] {
  if (count === 1) return [path];
  return Array.from({ length: count }, (_, i) => path.replace(/(\.[^./\\]*)?$/, `-${i + 1}$1`));
}
