import { tensor2d, type Tensor2D } from '@tensorflow/tfjs-core';

/** Sizes that SDXL is conditioned on (arXiv 2307.01952, §2.2), in pixels as `[height, width]` or `[top, left]`. */
export interface MicroConditions {
  /** The size of the image before it was cropped or scaled; that of the images by default. */
  readonly originalSize?: readonly [height: number, width: number];
  /** `[0, 0]`, a centred image, by default. */
  readonly cropsCoordsTopLeft?: readonly [top: number, left: number];
  /** That of the images by default. */
  readonly targetSize?: readonly [height: number, width: number];
}

/** The sizes as the UNet takes them, one row per image: `[B, 6]`. */
export function timeIdsOf(
  { originalSize, cropsCoordsTopLeft = [0, 0], targetSize }: MicroConditions,
  { batch, height, width }: { readonly batch: number; readonly height: number; readonly width: number },
): Tensor2D {
  const size = [height, width] as const;
  const row = [...(originalSize ?? size), ...cropsCoordsTopLeft, ...(targetSize ?? size)];
  return tensor2d(Array.from({ length: batch }, () => row));
}

/** The names of the sizes of a negative prompt. */
interface NegativeSizes {
  readonly negativeOriginalSize?: MicroConditions['originalSize'];
  readonly negativeCropsCoordsTopLeft?: MicroConditions['cropsCoordsTopLeft'];
  readonly negativeTargetSize?: MicroConditions['targetSize'];
}

/** The sizes of a negative prompt; undefined unless both its sizes are given, as in diffusers. */
export const negativeConditions = ({
  negativeOriginalSize: originalSize,
  negativeCropsCoordsTopLeft: cropsCoordsTopLeft,
  negativeTargetSize: targetSize,
}: NegativeSizes): MicroConditions | undefined =>
  originalSize && targetSize ? { originalSize, cropsCoordsTopLeft, targetSize } : undefined;
