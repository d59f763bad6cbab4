import {
  backend_util,
  conv2d,
  depthwiseConv2d,
  mul,
  registerKernel,
  reshape,
  reverse,
  slice,
  stack,
  sum,
  tidy,
  transpose,
  type Tensor,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { explicitPadding } from '../../geometry/explicit-padding.js';
import { filterGradient, pixelsByWindowPosition, type ConvWindows } from '../../gradients/filter-gradient.js';
import { spreadAlong } from '../../gradients/spread-along.js';
import { wrapKernel } from '../../registry/wrap-kernel.js';

type Pair = [number, number];
type Shape4D = [number, number, number, number];

/** The attributes of tfjs's backprop kernels of convolutions. */
interface ConvAttrs {
  readonly strides: number | [number, number];
  readonly pad: 'same' | 'valid' | number | backend_util.ExplicitPadding;
  readonly dimRoundingMode?: 'floor' | 'round' | 'ceil';
  readonly filterShape: Shape4D;
  readonly inputShape: Shape4D;
}

/** Adds the kernels that the gradients of tf.conv2d and tf.depthwiseConv2d need and wasm lacks, as composites. */
export function addConvBackpropOnWasm(): void {
  register('Conv2DBackpropFilter', ({ x, dy }, attrs) => {
    const gradient = filterGradient(x!, dy!, windows('Conv2D', x!.shape, attrs.filterShape, attrs));
    return reshape(transpose(gradient, [0, 2, 1]), attrs.filterShape);
  });
  register('DepthwiseConv2dNativeBackpropFilter', ({ x, dy }, attrs) => depthwiseFilterGradient(x!, dy!, attrs));
  register('DepthwiseConv2dNativeBackpropInput', ({ dy, filter }, attrs) =>
    depthwiseInputGradient(dy!, filter!, attrs),
  );
}

/**
 * Replaces tfjs's loops for the input gradient of tf.conv2d on wasm, and so for tf.conv2dTranspose, by a convolution of
 * dy, which is several times as fast.
 */
export const convolveInputGradientOnWasm = () =>
  wrapKernel('Conv2DBackpropInput', 'wasm', (call, original) => {
    const { dy, filter } = call.inputs as unknown as Record<string, Tensor4D>;
    const attrs = call.attrs as unknown as Omit<ConvAttrs, 'filterShape'> & { readonly dataFormat: 'NHWC' | 'NCHW' };
    if (attrs.dataFormat !== 'NHWC') return original(call);
    return tidy(() => {
      const { inside, border, size } = spreadOut(
        dy!,
        attrs.inputShape,
        windows('Conv2D', attrs.inputShape, filter!.shape, attrs),
      );
      const transposed = transpose(filter!, [0, 1, 3, 2]); // [kh, kw, out, in]
      const flipped = Math.max(...size) > 1 ? reverse(transposed, [0, 1]) : transposed;
      return conv2d(inside, flipped as Tensor4D, 1, border);
    });
  });

function register(kernelName: string, composite: (inputs: Record<string, Tensor>, attrs: ConvAttrs) => Tensor): void {
  registerKernel({
    kernelName,
    backendName: 'wasm',
    kernelFunc: ({ inputs, attrs }) =>
      tidy(() => composite(inputs as Record<string, Tensor>, attrs as unknown as ConvAttrs)),
  });
}

function windows(
  name: string,
  inputShape: readonly number[],
  filterShape: readonly number[],
  { strides, pad: padding, dimRoundingMode }: Omit<ConvAttrs, 'filterShape'>,
): ConvWindows {
  const info = backend_util.computeConv2DInfo(
    [...inputShape] as Shape4D,
    [...filterShape] as Shape4D,
    strides,
    1,
    padding,
    dimRoundingMode,
    name !== 'Conv2D',
  );
  return {
    size: [info.filterHeight, info.filterWidth],
    strides: [info.strideHeight, info.strideWidth],
    pads: explicitPadding(name, info),
    outputSize: [info.outHeight, info.outWidth],
  };
}

function depthwiseFilterGradient(x: Tensor, dy: Tensor, attrs: ConvAttrs): Tensor {
  const [, , channels, multiplier] = attrs.filterShape;
  const dys = reshape(dy, [-1, channels, multiplier]); // [B·H'·W', in, multiplier]
  const positions = pixelsByWindowPosition(x, windows('DepthwiseConv2dNative', x.shape, attrs.filterShape, attrs));
  return reshape(
    stack(positions.map((pixels) => sum(mul(reshape(pixels, [-1, channels, 1]), dys), 0))),
    attrs.filterShape,
  );
}

/** Convolves `dy`, spread over the output of the stride-1 convolution, with the flipped filter. */
function depthwiseInputGradient(dy: Tensor, filter: Tensor, attrs: ConvAttrs): Tensor {
  const [batch, height, width, channels] = attrs.inputShape;
  const { inside, border, size } = spreadOut(
    dy,
    attrs.inputShape,
    windows('DepthwiseConv2dNative', attrs.inputShape, filter.shape, attrs),
  );
  const flipped = reshape(reverse(filter, [0, 1]), [...size, dy.shape[3]!, 1]) as Tensor4D;
  const each = depthwiseConv2d(inside, flipped, 1, border);
  return channels === dy.shape[3] ? each : sum(reshape(each, [batch, height, width, channels, -1]), -1);
}

/**
 * Spreads `dy` of a strided convolution over the output of the stride-1 convolution, with zeros between.
 * @returns the result and its padding, with which a stride-1 convolution of it has the size of the input
 */
function spreadOut(dy: Tensor, inputShape: Shape4D, { size, strides, outputSize, pads }: ConvWindows) {
  const spans = outputSize.map((count, i) => (count - 1) * strides[i]! + 1);
  const spread = strides.reduce((x, stride, i) => spreadAlong(x, i + 1, 0, stride, spans[i]!), dy);
  const border = [0, 1].map((i) => {
    const before = size[i]! - 1 - pads[i]![0];
    return [before, inputShape[i + 1]! - spans[i]! - before + size[i]! - 1];
  });
  // Windows that lie entirely in the padding have no effect on the input: the border is negative there.
  const unseen = border.map((zeros) => zeros.map((count) => Math.max(0, -count)));
  const begin = [0, unseen[0]![0]!, unseen[1]![0]!, 0];
  const rest = [-1, spans[0]! - begin[1]! - unseen[0]![1]!, spans[1]! - begin[2]! - unseen[1]![1]!, -1];
  const inside = (unseen.flat().some(Boolean) ? slice(spread, begin, rest) : spread) as Tensor4D;
  const [rows, columns] = border.map((zeros) => zeros.map((count) => Math.max(0, count))) as [Pair, Pair];
  return { inside, border: [[0, 0], rows, columns, [0, 0]] as backend_util.ExplicitPadding, size };
}
