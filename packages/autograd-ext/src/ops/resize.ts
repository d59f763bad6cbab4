import { matMul, reshape, tensor2d, transpose, type Tensor, type Tensor2D, type Tensor4D } from '@tensorflow/tfjs-core';
import { defineOp } from '../define-op.js';
import { registerHostKernel } from '../kernels/registry/host-kernel.js';
import { resizeGradKernel, resizeKernel, type ResizeAttrs } from '../kernels/fused/resize.js';
import { resizeWeights, type ResizeKernel } from '../kernels/geometry/resize-weights.js';

/** A new height and width, in pixels. */
export type Size = readonly [height: number, width: number];

/**
 * Resizes images as torch.nn.functional.interpolate with `align_corners=False`, by two products with constant matrices.
 * `antialias` widens the filter when shrinking; it is on by default, as in torchvision and PIL.
 * @param x `[B, H, W, C]`
 * @returns `[B, height, width, C]`; bicubic values may exceed the range of the input
 * @throws if x has another rank or the size is not positive integers
 */
export function resize(
  x: Tensor4D,
  size: Size,
  { mode, antialias = true }: { mode: 'bilinear' | 'bicubic'; antialias?: boolean },
): Tensor4D {
  return resample(x, size, { mode, antialias });
}

/**
 * Resizes images by repeating or dropping pixels, as torch's `nearest`: output pixel i copies input pixel
 * `floor(i · in / out)`.
 * @param x `[B, H, W, C]`
 * @returns `[B, height, width, C]`
 * @throws if x has another rank or the size is not positive integers
 */
export function upsampleNearest(x: Tensor4D, size: Size): Tensor4D {
  return resample(x, size, { mode: 'nearest', antialias: false });
}

/**
 * Returns the size whose shorter side is `size`, with the aspect ratio of the given image, as torchvision's
 * `Resize(size)`. Rounds the longer side down.
 */
export function shorterSide([height, width]: Size, size: number): Size {
  return height <= width ? [size, Math.floor((size * width) / height)] : [Math.floor((size * height) / width), size];
}

function resample(x: Tensor4D, [height, width]: Size, kernel: ResizeKernel): Tensor4D {
  const fits = x.rank === 4 && [height, width].every((n) => Number.isInteger(n) && n > 0);
  if (!fits)
    throw new Error(
      `resize: x and size got shapes [${x.shape}] and [${height}, ${width}], ` +
        'expected [B, H, W, C] and two positive integers.',
    );
  return resizeOp({ x }, { ...kernel, from: [x.shape[1], x.shape[2]], to: [height, width] }) as Tensor4D;
}

registerHostKernel(resizeKernel);
registerHostKernel(resizeGradKernel);

const resizeOp = defineOp<ResizeAttrs>({
  name: 'Resize',
  forward: ({ x }, attrs) => {
    const [down, across] = matrices(attrs);
    return applyMatrices(x!, transpose(down), transpose(across));
  },
  gradient: (dy, _, attrs) => ({ x: () => resizeGrad({ dy }, attrs) }),
});

const resizeGrad = defineOp<ResizeAttrs>({
  name: 'ResizeGrad',
  forward: ({ dy }, attrs) => applyMatrices(dy!, ...matrices(attrs)),
});

/** The resize matrices `[out, in]` of the vertical and of the horizontal axis. */
const matrices = ({ from, to, ...kernel }: ResizeAttrs) =>
  [0, 1].map((axis) => tensor2d(resizeWeights(from[axis]!, to[axis]!, kernel), [to[axis]!, from[axis]!])) as [
    Tensor2D,
    Tensor2D,
  ];

/** Multiplies the columns of `x` `[B, H, W, C]` by `down` `[H, H']` and its rows by `across` `[W, W']`. */
function applyMatrices(x: Tensor, down: Tensor2D, across: Tensor2D): Tensor {
  const [batch, height, width, channels] = x.shape as [number, number, number, number];
  const rows = reshape(transpose(x, [0, 1, 3, 2]), [-1, width]);
  const wide = reshape(matMul(rows as Tensor2D, across), [batch, height, channels, -1]); // [B, H, C, W']
  const columns = reshape(transpose(wide, [0, 3, 2, 1]), [-1, height]);
  const tall = reshape(matMul(columns as Tensor2D, down), [batch, across.shape[1], channels, -1]); // [B, W', C, H']
  return transpose(tall, [0, 3, 1, 2]);
}
