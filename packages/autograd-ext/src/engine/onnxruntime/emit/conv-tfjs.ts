import { mul, reshape, stack, sum, transpose, type Tensor } from '@tensorflow/tfjs-core';
import {
  filterGradient,
  pixelsByWindowPosition,
  type ConvWindows,
} from '../../../kernels/gradients/filter-gradient.js';
import { node, type Value } from '../graph/graph.js';
import { registerDecomposition, registerKernelEmitter } from '../recorder/recorder.js';
import { identityOrder, ordered, plain, reshaped, transposed, viewOf, type View } from '../recorder/view.js';
import { activated, type FusedActivation } from './activation.js';
import { fromChannelsFirst, toChannelsFirst } from './channels.js';
import { slice } from './shape.js';
import { convWindows, windowAttributes, type WindowAttrs, type Windows } from './windows.js';

// tfjs's own convolutions. Their filters are [kh, kw, in, out], depthwise ones [kh, kw, in, multiplier].

for (const kernel of ['Conv2D', 'Conv3D', 'DepthwiseConv2dNative'])
  registerKernelEmitter<WindowAttrs>(kernel, ({ x, filter }, attrs) => convolution(kernel, x!, filter!, attrs));
for (const kernel of ['Conv2D', 'DepthwiseConv2D']) {
  registerKernelEmitter<WindowAttrs & FusedActivation>(
    `Fused${kernel}`,
    ({ x, filter, bias, preluActivationWeights }, attrs) =>
      activated(convolution(kernel, x!, filter!, attrs, bias), attrs, preluActivationWeights),
  );
}
for (const kernel of ['Conv2DBackpropInput', 'Conv3DBackpropInputV2', 'DepthwiseConv2dNativeBackpropInput']) {
  registerKernelEmitter<WindowAttrs & { inputShape: number[] }>(kernel, ({ dy, filter }, attrs) =>
    inputGradient(kernel, dy!, filter!, attrs),
  );
}

/** @param x `[B, …, in]`, or channels first if the attributes say so */
function convolution(name: string, x: View, filter: View, attrs: WindowAttrs, bias?: View): View {
  const channelsLast = toChannelsLast(x, attrs);
  const groups = name.includes('Depthwise') ? channelsLast.shape.at(-1)! : 1;
  const windows = convWindows(name, channelsLast.shape, filter.shape, attrs);
  const weight = weightOf(filter, groups);
  const inputs = [toChannelsFirst(channelsLast), weight, ...(bias ? [reshaped(plain(bias), [weight.shape[0]!])] : [])];
  const shape = [channelsLast.shape[0]!, weight.shape[0]!, ...windows.counts];
  return fromChannelsLast(
    fromChannelsFirst(
      node('Conv', inputs, shape, {
        attributes: { ...windowAttributes(windows), ...(groups > 1 && { group: { int: groups } }) },
      }),
    ),
    attrs,
  );
}

/** The input gradient as a transposed convolution, which is also how tf.conv2dTranspose computes. */
function inputGradient(name: string, dy: View, filter: View, attrs: WindowAttrs & { inputShape: number[] }): View {
  const channelsLast = toChannelsLast(dy, attrs);
  const isFirst = isChannelsFirst(attrs);
  const inputShape = isFirst
    ? [attrs.inputShape[0]!, ...attrs.inputShape.slice(2), attrs.inputShape[1]!]
    : attrs.inputShape;
  const groups = name.includes('Depthwise') ? inputShape.at(-1)! : 1;
  const windows = convWindows(name, inputShape, filter.shape, { ...attrs, dilations: attrs.dilations ?? 1 });
  const outputPadding = unread(windows);
  const attributes = {
    ...windowAttributes(windows),
    ...(outputPadding.some((n) => n > 0) && { output_padding: { ints: outputPadding } }),
    ...(groups > 1 && { group: { int: groups } }),
  };
  const shape = [inputShape[0]!, inputShape.at(-1)!, ...inputShape.slice(1, -1)];
  return fromChannelsLast(
    fromChannelsFirst(
      node('ConvTranspose', [toChannelsFirst(channelsLast), weightOf(filter, groups)], shape, { attributes }),
    ),
    attrs,
  );
}

/** The number of input positions behind the last window, per spatial axis. */
const unread = ({ extent, size, strides, dilations, before, after, counts }: Windows): number[] =>
  extent.map(
    (n, i) => n + before[i]! + after[i]! - ((counts[i]! - 1) * strides[i]! + (size[i]! - 1) * dilations[i]! + 1),
  );

/** The filter in ONNX's layout, `[out, in / groups, kh, kw]`. */
function weightOf(filter: View, groups: number): Value {
  const rank = filter.shape.length;
  const spatial = identityOrder(rank - 2);
  if (groups === 1) return ordered(filter, [rank - 1, rank - 2, ...spatial]);
  const weight = ordered(filter, [rank - 2, rank - 1, ...spatial]);
  return reshaped(weight, [weight.shape[0]! * weight.shape[1]!, 1, ...weight.shape.slice(2)]);
}

const isChannelsFirst = ({ dataFormat }: WindowAttrs): boolean => dataFormat === 'NCHW' || dataFormat === 'NCDHW';

function toChannelsLast(x: View, attrs: WindowAttrs): View {
  const rank = x.shape.length;
  return isChannelsFirst(attrs) ? transposed(x, [0, ...identityOrder(rank).slice(2), 1]) : x;
}
const fromChannelsLast = (y: View, attrs: WindowAttrs): View =>
  isChannelsFirst(attrs) ? transposed(y, [0, y.shape.length - 1, ...identityOrder(y.shape.length).slice(1, -1)]) : y;

type FilterAttrs = WindowAttrs & { filterShape: number[] };

registerDecomposition<FilterAttrs>('Conv2DBackpropFilter', ({ x, dy }, attrs) => {
  const [images, gradients] = [x!, dy!].map((tensor) =>
    isChannelsFirst(attrs) ? transpose(tensor, [0, 2, 3, 1]) : tensor,
  ) as [Tensor, Tensor];
  const gradient = filterGradient(images, gradients, filterWindows('Conv2D', images.shape, attrs)); // [kh·kw, out, in]
  return reshape(transpose(gradient, [0, 2, 1]), attrs.filterShape);
});
registerDecomposition<FilterAttrs>('DepthwiseConv2dNativeBackpropFilter', ({ x, dy }, attrs) => {
  const [, , channels, multiplier] = attrs.filterShape as [number, number, number, number];
  const dys = reshape(dy!, [...dy!.shape.slice(0, 3), channels, multiplier]);
  const positions = pixelsByWindowPosition(x!, filterWindows('DepthwiseConv2dNative', x!.shape, attrs));
  const sums = positions.map((part) => sum(mul(reshape(part, [...part.shape, 1]), dys), [0, 1, 2]));
  return reshape(stack(sums), attrs.filterShape);
});

function filterWindows(name: string, shape: readonly number[], attrs: FilterAttrs): ConvWindows {
  const { size, strides, before, after, counts } = convWindows(name, shape, attrs.filterShape, {
    ...attrs,
    dilations: 1,
  });
  return { size, strides, pads: before.map((n, i) => [n, after[i]!]), outputSize: counts } as unknown as ConvWindows;
}

// A convolution of x with dy, with examples and channels swapped. Results behind the last window are cut off.
registerKernelEmitter<FilterAttrs>('Conv3DBackpropFilterV2', ({ x, dy }, attrs) => {
  const windows = convWindows('Conv3D', x!.shape, attrs.filterShape, attrs);
  const swapped = (view: View) => ordered(view, [4, 0, 1, 2, 3]); // [C, B, D, H, W]
  const size = windows.size.map((n, i) => n + unread(windows)[i]!);
  const attributes = windowAttributes({
    ...windows,
    size: windows.counts,
    strides: [1, 1, 1],
    dilations: windows.strides,
  });
  const [inputs, outputs] = [x!.shape[4]!, dy!.shape[4]!];
  const gradient = viewOf(
    node('Conv', [swapped(x!), swapped(dy!)], [inputs, outputs, ...size], { attributes }),
    [3, 4, 0, 1, 2],
  );
  return slice(gradient, [0, 0, 0, 0, 0], attrs.filterShape);
});
