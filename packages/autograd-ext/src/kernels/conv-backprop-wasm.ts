import { backend_util, depthwiseConv2d, mul, pad, registerKernel, reshape, reverse, slice, stack, sum, tidy, transpose, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { filterGradient, seenByPosition, type Windows } from './filter-gradient.js';
import { neededPadding } from './padding-wasm.js';
import { spreadAlong } from './spread-along.js';

type Shape4D = [number, number, number, number];

interface ConvAttrs {
  readonly strides: number | [number, number];
  readonly pad: 'same' | 'valid' | number | backend_util.ExplicitPadding;
  readonly dimRoundingMode?: 'floor' | 'round' | 'ceil';
  readonly filterShape: Shape4D;
  readonly inputShape: Shape4D;
}

/** The kernels that gradients of tf.conv2d and tf.depthwiseConv2d ask for and that the wasm backend lacks, made of other ops. */
export function addConvBackpropOnWasm(): void {
  register('Conv2DBackpropFilter', ({ x, dy }, attrs) => {
    const gradient = filterGradient(x!, dy!, windows('Conv2D', x!.shape, attrs.filterShape, attrs));
    return reshape(transpose(gradient, [0, 2, 1]), attrs.filterShape);
  });
  register('DepthwiseConv2dNativeBackpropFilter', ({ x, dy }, attrs) => depthwiseFilterGradient(x!, dy!, attrs));
  register('DepthwiseConv2dNativeBackpropInput', ({ dy, filter }, attrs) => depthwiseInputGradient(dy!, filter!, attrs));
}

function register(kernelName: string, composite: (inputs: Record<string, Tensor>, attrs: ConvAttrs) => Tensor): void {
  registerKernel({
    kernelName,
    backendName: 'wasm',
    kernelFunc: ({ inputs, attrs }) => tidy(() => composite(inputs as Record<string, Tensor>, attrs as unknown as ConvAttrs)),
  });
}

function windows(name: string, inputShape: readonly number[], filterShape: readonly number[], { strides, pad: padding, dimRoundingMode }: ConvAttrs): Windows {
  const info = backend_util.computeConv2DInfo([...inputShape] as Shape4D, [...filterShape] as Shape4D, strides, 1, padding, dimRoundingMode, name !== 'Conv2D');
  return {
    size: [info.filterHeight, info.filterWidth],
    strides: [info.strideHeight, info.strideWidth],
    pads: neededPadding(name, info),
    places: [info.outHeight, info.outWidth],
  };
}

function depthwiseFilterGradient(x: Tensor, dy: Tensor, attrs: ConvAttrs): Tensor {
  const [, , channels, multiplier] = attrs.filterShape;
  const dys = reshape(dy, [-1, channels, multiplier]); // [B·H'·W', in, multiplier]
  const positions = seenByPosition(x, windows('DepthwiseConv2dNative', x.shape, attrs.filterShape, attrs));
  return reshape(stack(positions.map((seen) => sum(mul(reshape(seen, [-1, channels, 1]), dys), 0))), attrs.filterShape);
}

/** `dy`, spread over the places of a stride-1 convolution, convolved with the flipped filter. */
function depthwiseInputGradient(dy: Tensor, filter: Tensor, attrs: ConvAttrs): Tensor {
  const [batch, height, width, channels] = attrs.inputShape;
  const { size: [kh, kw], strides, places, pads: [[top], [left]] } = windows('DepthwiseConv2dNative', attrs.inputShape, filter.shape, attrs);
  const spans = places.map((n, i) => (n - 1) * strides[i]! + 1) as [number, number];
  const spread = spreadAlong(spreadAlong(dy, 1, 0, strides[0], spans[0]), 2, 0, strides[1], spans[1]);
  const bottom = Math.max(0, top + height - spans[0] - kh + 1); // rows of x that no window sees
  const right = Math.max(0, left + width - spans[1] - kw + 1);
  const bordered = pad(spread, [[0, 0], [kh - 1, kh - 1 + bottom], [kw - 1, kw - 1 + right], [0, 0]]) as Tensor4D;
  const flipped = reshape(reverse(filter, [0, 1]), [kh, kw, dy.shape[3]!, 1]) as Tensor4D;
  const each = slice(depthwiseConv2d(bordered, flipped, 1, 'valid'), [0, top, left, 0], [batch, height, width, -1]);
  return sum(reshape(each, [batch, height, width, channels, -1]), -1);
}
