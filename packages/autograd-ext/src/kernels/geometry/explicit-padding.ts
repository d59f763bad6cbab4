import type { backend_util } from '@tensorflow/tfjs-core';

type Pair = [before: number, after: number];

/**
 * The explicit padding that gives a convolution or pooling the output size in `info`: zeros before and after the rows
 * and the columns, as few as the last window needs.
 * @param kernelName for the error
 * @throws if the output size leaves a whole stride of the image unread, which no padding describes
 */
export function explicitPadding(kernelName: string, info: backend_util.Conv2DInfo): [rows: Pair, columns: Pair] {
  const { top, left } = info.padInfo;
  const bottom = (info.outHeight - 1) * info.strideHeight + info.effectiveFilterHeight - info.inHeight - top;
  const right = (info.outWidth - 1) * info.strideWidth + info.effectiveFilterWidth - info.inWidth - left;
  const unread = Math.max(-bottom - info.strideHeight, -right - info.strideWidth) + 1;
  if (unread > 0) {
    const [size, strides] = [
      [info.filterHeight, info.filterWidth],
      [info.strideHeight, info.strideWidth],
    ];
    throw new Error(
      `${kernelName}: pad got ${left} for windows [${size}] and strides [${strides}], ` +
        `expected one number per edge. Write it as [[0, 0], [top, bottom], [left, right], [0, 0]], or 'valid'.`,
    );
  }
  return [
    [top, Math.max(0, bottom)],
    [left, Math.max(0, right)],
  ];
}
