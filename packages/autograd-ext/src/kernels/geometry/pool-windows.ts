import { backend_util } from '@tensorflow/tfjs-core';

/** The attributes of tfjs's 2-D pooling kernels. */
export interface PoolAttrs {
  readonly filterSize: [number, number] | number;
  readonly strides: [number, number] | number;
  readonly pad: 'same' | 'valid' | number | backend_util.ExplicitPadding;
  readonly dimRoundingMode?: 'floor' | 'round' | 'ceil';
}

/**
 * Calls `visit(y, pixels)` for each window of each example: `y` is the offset of the window in the output, `pixels` are
 * the offsets of its pixels inside the input of the given shape (both of channel 0).
 */
export function forEachWindow(
  shape: readonly number[],
  { filterSize, strides, pad, dimRoundingMode }: PoolAttrs,
  visit: (y: number, pixels: readonly number[]) => void,
): void {
  const info = backend_util.computePool2DInfo(
    [...shape] as [number, number, number, number],
    filterSize,
    strides,
    1,
    pad,
    dimRoundingMode,
  );
  const channels = info.inChannels;
  let y = 0;
  for (let b = 0; b < info.batchSize; b++) {
    for (let row = 0; row < info.outHeight; row++) {
      for (let column = 0; column < info.outWidth; column++, y += channels) {
        const pixels: number[] = [];
        for (const r of inside(row * info.strideHeight - info.padInfo.top, info.filterHeight, info.inHeight)) {
          for (const c of inside(column * info.strideWidth - info.padInfo.left, info.filterWidth, info.inWidth)) {
            pixels.push(((b * info.inHeight + r) * info.inWidth + c) * channels);
          }
        }
        visit(y, pixels);
      }
    }
  }
}

/** The `count` indices from `first` that lie in [0, size). */
function inside(first: number, count: number, size: number): number[] {
  return Array.from({ length: count }, (_, i) => first + i).filter((i) => i >= 0 && i < size);
}
