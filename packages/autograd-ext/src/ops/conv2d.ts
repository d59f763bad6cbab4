import {
  add,
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
  type backend_util,
  type Tensor,
  type Tensor2D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { defineOp } from '../define-op.js';
import { packedLayout } from '../frozen.js';
import { filterGradient } from '../kernels/gradients/filter-gradient.js';
import { isLinearMap, type Conv2DOptions, type LinearMap } from '../params.js';
import { linear } from './linear.js';

/** A kernel `[out, in, kh, kw]`, as a tensor or as a linear map. */
export type Kernel = Tensor | LinearMap;

/**
 * 2-D convolution, as torch.nn.functional.conv2d, but of NHWC images.
 * @param x `[B, H, W, in]`
 * @param weight `[out, in, kh, kw]`, as in checkpoints
 * @param bias `[out]`
 * @param options.padding less than the kernel size
 * @returns `[B, H', W', out]`
 * @throws if x does not match the weight, or the padding reaches the kernel size
 */
export function conv2d(x: Tensor4D, weight: Kernel, bias?: Tensor, options: Conv2DOptions = {}): Tensor4D {
  const { stride = 1, padding = 0 } = options;
  const [, inputs, kh, kw] = weight.shape as [number, number, number, number];
  if (x.rank !== 4 || x.shape[3] !== inputs)
    throw new Error(
      `conv2d: x got shape [${x.shape}], expected [B, H, W, ${inputs}] for a weight of shape [${weight.shape}].`,
    );
  const pads = typeof padding === 'number' ? ([padding, padding, padding, padding] as const) : padding;
  if (Math.max(pads[0], pads[1]) >= kh || Math.max(pads[2], pads[3]) >= kw)
    throw new Error(`conv2d: padding got [${pads}], expected less than the kernel [${[kh, kw]}].`);
  if (!isLinearMap(weight)) return convOp({ x, weight, ...(bias && { bias }) }, { stride, pads }) as Tensor4D;
  const y = weight.apply(x, options) as Tensor4D;
  return bias ? add(y, bias) : y;
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

/** Whether the convolution is a matrix product at every pixel. */
const isMatrix = ({ shape }: Tensor, stride: number) => shape[2] === 1 && shape[3] === 1 && stride === 1;
const asMatrix = (weight: Tensor) => reshape(weight, [weight.shape[0]!, weight.shape[1]!]);

const toHWIO = (weight: Tensor) => transpose(weight, [2, 3, 1, 0]);
/** The kernel of the transposed stride-1 convolution: flipped, with input and output channels exchanged. */
const toTransposed = (weight: Tensor) => reverse(transpose(weight, [2, 3, 0, 1]), [0, 1]); // [kh, kw, out, in]

function convolve(
  x: Tensor,
  filter: Tensor,
  stride: number,
  [top, bottom, left, right]: readonly number[],
  bias?: Tensor,
): Tensor {
  const rows: [number, number] = [top!, bottom!];
  const columns: [number, number] = [left!, right!];
  const explicit: backend_util.ExplicitPadding = [[0, 0], rows, columns, [0, 0]];
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

// A strided convolution is a stride-1 convolution of whose output every `stride`-th row and column is read. So dy is
// first spread over the stride-1 output.
const inputGradient = defineOp<ConvAttrs & { readonly size: readonly [height: number, width: number] }>({
  name: 'ConvOIHWInputGrad',
  forward: ({ dy, weight }, { stride, pads: [top, bottom, left, right], size: [height, width] }) => {
    const [outputs, inputs, kh, kw] = weight!.shape as [number, number, number, number];
    if (isMatrix(weight!, stride)) {
      const dx = matMul(reshape(dy!, [-1, outputs]) as Tensor2D, asMatrix(weight!) as Tensor2D); // [B·H·W, in]
      return reshape(dx, [dy!.shape[0]!, height, width, inputs]);
    }
    const spread = spreadOut(dy!, stride, height + top + bottom - kh + 1, width + left + right - kw + 1);
    return convolve(spread, packedLayout(weight!, 'transposed', toTransposed), 1, [
      kh - 1 - top,
      kh - 1 - bottom,
      kw - 1 - left,
      kw - 1 - right,
    ]);
  },
});

/** Writes `dy` to every `stride`-th row and column of a plane of zeros of the given size. */
function spreadOut(dy: Tensor, stride: number, height: number, width: number): Tensor {
  if (stride === 1) return dy;
  const [batch, rows, columns, channels] = dy.shape as [number, number, number, number];
  const pixels = reshape(dy, [batch * rows * columns, channels]);
  const withColumns = concat([pixels, zeros([pixels.shape[0]!, (stride - 1) * channels])], 1);
  const lines = reshape(withColumns, [batch * rows, stride * columns * channels]);
  const withRows = concat([lines, zeros([lines.shape[0]!, (stride - 1) * lines.shape[1]!])], 1);
  const full = reshape(withRows, [batch, stride * rows, stride * columns, channels]);
  const below: [number, number] = [0, Math.max(0, height - stride * rows)];
  const right: [number, number] = [0, Math.max(0, width - stride * columns)];
  return slice(pad(full, [[0, 0], below, right, [0, 0]]), [0, 0, 0, 0], [batch, height, width, channels]);
}

function weightGradient(
  dy: Tensor,
  x: Tensor,
  weight: Tensor,
  { stride, pads: [top, bottom, left, right] }: ConvAttrs,
): Tensor {
  const [, , kh, kw] = weight.shape as [number, number, number, number];
  const outputSize = [dy.shape[1]!, dy.shape[2]!] as const;
  const [rows, columns] = [[top, bottom] as const, [left, right] as const];
  const windows = { size: [kh, kw], strides: [stride, stride], pads: [rows, columns], outputSize } as const;
  const gradient = filterGradient(x, dy, windows); // [kh·kw, out, in]
  return reshape(transpose(gradient, [1, 2, 0]), weight.shape);
}
