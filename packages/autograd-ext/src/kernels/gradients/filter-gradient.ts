import {
  matMul,
  pad,
  reshape,
  stack,
  stridedSlice,
  transpose,
  type Tensor,
  type Tensor2D,
} from '@tensorflow/tfjs-core';

type Pair = readonly [number, number];

/** The windows of a 2-D convolution: pairs are vertical, horizontal. */
export interface ConvWindows {
  readonly size: Pair;
  readonly strides: Pair;
  readonly pads: readonly [rows: Pair, columns: Pair];
  /** Height and width of the output. */
  readonly outputSize: Pair;
}

/**
 * Returns, for each position in the window (row by row), the input pixel that every window has there: `[B, H', W', C]`
 * of x `[B, H, W, C]`.
 */
export function pixelsByWindowPosition(
  x: Tensor,
  { size: [kh, kw], strides: [down, across], pads, outputSize: [rows, columns] }: ConvWindows,
): Tensor[] {
  const padded = pad(x, [[0, 0], [...pads[0]], [...pads[1]], [0, 0]]);
  return Array.from({ length: kh * kw }, (_, i) => {
    const [top, left] = [Math.floor(i / kw), i % kw];
    const end = [x.shape[0]!, top + (rows - 1) * down + 1, left + (columns - 1) * across + 1, x.shape[3]!];
    return stridedSlice(padded, [0, top, left, 0], end, [1, down, across, 1]);
  });
}

/**
 * The gradient of a convolution's filter, as one matrix product of dy and x per position in the window.
 * @returns `[kh·kw, out, in]`
 */
export function filterGradient(x: Tensor, dy: Tensor, windows: ConvWindows): Tensor {
  const [inputs, outputs] = [x.shape[3]!, dy.shape[3]!];
  const dyT = transpose(reshape(dy, [-1, outputs])) as Tensor2D; // [out, B·H'·W']
  return stack(
    pixelsByWindowPosition(x, windows).map((pixels) => matMul(dyT, reshape(pixels, [-1, inputs]) as Tensor2D)),
  );
}
