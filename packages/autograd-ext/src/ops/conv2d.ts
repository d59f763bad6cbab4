import {
  concat,
  engine,
  FusedConv2D,
  matMul,
  pad,
  reshape,
  reverse,
  slice,
  sum,
  transpose,
  zeros,
  conv2d as tfConv2d,
  type Tensor,
  type Tensor2D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { defineOp } from '../define-op.js';
import { packedLayout } from '../frozen.js';
import { filterGradient } from '../kernels/gradients/filter-gradient.js';
import { linear } from './linear.js';

/** Zeros added at the borders: the same everywhere, or `[top, bottom, left, right]`. */
export type Padding = number | readonly [top: number, bottom: number, left: number, right: number];

/**
 * 2-D convolution of images `[B, H, W, in]` with a weight in the layout of checkpoints, as torch.nn.functional.conv2d.
 * @param weight `[out, in, kh, kw]`
 * @param bias `[out]`
 * @param options.padding less than the kernel's size
 * @returns `[B, H', W', out]`
 * @throws if the shapes do not fit
 */
export function conv2d(
  x: Tensor4D,
  weight: Tensor,
  bias?: Tensor,
  { stride = 1, padding = 0 }: { stride?: number; padding?: Padding } = {},
): Tensor4D {
  const [, inputs, kh, kw] = weight.shape as [number, number, number, number];
  if (x.rank !== 4 || x.shape[3] !== inputs)
    throw new Error(
      `conv2d: x got shape [${x.shape}], expected [B, H, W, ${inputs}] for a weight of shape [${weight.shape}].`,
    );
  const pads = typeof padding === 'number' ? ([padding, padding, padding, padding] as const) : padding;
  if (Math.max(pads[0], pads[1]) >= kh || Math.max(pads[2], pads[3]) >= kw)
    throw new Error(`conv2d: padding got [${pads}], expected less than the kernel [${[kh, kw]}].`);
  return convOp({ x, weight, ...(bias && { bias }) }, { stride, pads }) as Tensor4D;
}

interface ConvAttrs {
  readonly stride: number;
  readonly pads: readonly [number, number, number, number];
}

const convOp = defineOp<ConvAttrs>({
  name: 'ConvOIHW',
  forward: ({ x, weight, bias }, { stride, pads }) =>
    isMatrix(weight!, stride)
      ? linear(x!, asMatrix(weight!), bias)
      : convolve(x!, packedLayout(weight!, 'HWIO', toHWIO), stride, pads, bias),
  inputsToSave: ['x', 'weight'],
  gradient: (dy, [x, weight], attrs) => ({
    x: () => inputGradient({ dy, weight: weight! }, { ...attrs, size: [x!.shape[1]!, x!.shape[2]!] }),
    weight: () => weightGradient(dy, x!, weight!, attrs),
    bias: () => sum(reshape(dy, [-1, dy.shape[3]!]), 0),
  }),
});

/** A 1×1 kernel is a matrix, applied to every pixel. */
const isMatrix = ({ shape }: Tensor, stride: number) => shape[2] === 1 && shape[3] === 1 && stride === 1;
const asMatrix = (weight: Tensor) => reshape(weight, [weight.shape[0]!, weight.shape[1]!]);

const toHWIO = (weight: Tensor) => transpose(weight, [2, 3, 1, 0]);
/**
 * The kernel whose convolution is the transpose of a stride-1 convolution: flipped, with inputs and outputs exchanged.
 */
const toTransposed = (weight: Tensor) => reverse(transpose(weight, [2, 3, 0, 1]), [0, 1]); // [kh, kw, out, in]

function convolve(
  x: Tensor,
  filter: Tensor,
  stride: number,
  [top, bottom, left, right]: readonly number[],
  bias?: Tensor,
): Tensor {
  const explicit: [[number, number], [number, number], [number, number], [number, number]] = [
    [0, 0],
    [top!, bottom!],
    [left!, right!],
    [0, 0],
  ];
  if (!bias) return tfConv2d(x as Tensor4D, filter as Tensor4D, stride, explicit);
  const attrs = {
    strides: stride,
    pad: explicit,
    dataFormat: 'NHWC',
    dilations: [1, 1],
    dimRoundingMode: undefined,
    activation: 'linear',
  };
  return engine().runKernel(FusedConv2D, { x, filter, bias } as never, attrs as never) as Tensor;
}

// The gradient of a strided convolution is that of the stride-1 convolution whose output, sampled every `stride`, it
// is.
const inputGradient = defineOp<ConvAttrs & { readonly size: readonly [height: number, width: number] }>({
  name: 'ConvOIHWInputGrad',
  forward: ({ dy, weight }, { stride, pads: [top, bottom, left, right], size: [height, width] }) => {
    const [outputs, inputs, kh, kw] = weight!.shape as [number, number, number, number];
    if (isMatrix(weight!, stride))
      return reshape(matMul(reshape(dy!, [-1, outputs]) as Tensor2D, asMatrix(weight!) as Tensor2D), [
        dy!.shape[0]!,
        height,
        width,
        inputs,
      ]);
    const spread = spreadOut(dy!, stride, height + top + bottom - kh + 1, width + left + right - kw + 1);
    return convolve(spread, packedLayout(weight!, 'transposed', toTransposed), 1, [
      kh - 1 - top,
      kh - 1 - bottom,
      kw - 1 - left,
      kw - 1 - right,
    ]);
  },
});

/** `dy` at every `stride`-th place of a plane of zeros of the given size. */
function spreadOut(dy: Tensor, stride: number, height: number, width: number): Tensor {
  if (stride === 1) return dy;
  const [batch, rows, columns, channels] = dy.shape as [number, number, number, number];
  const across = reshape(dy, [batch * rows * columns, channels]);
  const wide = reshape(concat([across, zeros([across.shape[0]!, (stride - 1) * channels])], 1), [
    batch * rows,
    stride * columns * channels,
  ]);
  const full = reshape(concat([wide, zeros([wide.shape[0]!, (stride - 1) * wide.shape[1]!])], 1), [
    batch,
    stride * rows,
    stride * columns,
    channels,
  ]);
  const missing = [Math.max(0, height - stride * rows), Math.max(0, width - stride * columns)] as const;
  return slice(
    pad(full, [
      [0, 0],
      [0, missing[0]],
      [0, missing[1]],
      [0, 0],
    ]),
    [0, 0, 0, 0],
    [batch, height, width, channels],
  );
}

function weightGradient(
  dy: Tensor,
  x: Tensor,
  weight: Tensor,
  { stride, pads: [top, bottom, left, right] }: ConvAttrs,
): Tensor {
  const [, , kh, kw] = weight.shape as [number, number, number, number];
  const places = [dy.shape[1]!, dy.shape[2]!] as const;
  const gradient = filterGradient(x, dy, {
    size: [kh, kw],
    strides: [stride, stride],
    pads: [
      [top, bottom],
      [left, right],
    ],
    places,
  });
  return reshape(transpose(gradient, [1, 2, 0]), weight.shape);
}
