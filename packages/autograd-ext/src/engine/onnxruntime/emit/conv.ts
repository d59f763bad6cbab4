import { node, type Value } from '../graph/graph.js';
import { registerKernelEmitter } from '../recorder/recorder.js';
import { plain } from '../recorder/view.js';
import { fromChannelsFirst, toChannelsFirst } from './channels.js';
import { isWorthACopy, rotatedWeight } from './conv-weights.js';

// The convolution of this package, whose weights are OIHW, and its input gradient.

interface ConvAttrs {
  readonly stride: number;
  readonly pads: readonly [top: number, bottom: number, left: number, right: number];
}

registerKernelEmitter<ConvAttrs>('ConvOIHW', ({ x, weight, bias }, { stride, pads: [top, bottom, left, right] }) => {
  const image = toChannelsFirst(x!);
  const [batch, , height, width] = image.shape as [number, number, number, number];
  const [outputs, , kh, kw] = weight!.shape as [number, number, number, number];
  const shape = [
    batch,
    outputs,
    Math.floor((height + top + bottom - kh) / stride) + 1,
    Math.floor((width + left + right - kw) / stride) + 1,
  ];
  const attributes = {
    kernel_shape: { ints: [kh, kw] },
    strides: { ints: [stride, stride] },
    pads: { ints: [top, left, bottom, right] },
  };
  const inputs = bias ? [image, plain(weight!), plain(bias)] : [image, plain(weight!)];
  return fromChannelsFirst(node('Conv', inputs, shape, { attributes }));
});

interface InputGradAttrs extends ConvAttrs {
  readonly size: readonly [height: number, width: number];
}

registerKernelEmitter<InputGradAttrs>('ConvOIHWInputGrad', ({ dy, weight }, attrs) => {
  const [gradient, kernel] = [toChannelsFirst(dy!), plain(weight!)];
  const isConvolution = attrs.stride === 1 && isWorthACopy(kernel, gradient);
  return fromChannelsFirst((isConvolution ? rotatedConv : transposedConv)(gradient, kernel, attrs));
});

/**
 * The input gradient at stride 1 as a convolution with the rotated weight. ONNX Runtime rotates a frozen weight once,
 * when the session starts; on large images the convolution then takes half the time of a transposed one.
 */
function rotatedConv(dy: Value, weight: Value, { pads: [top, bottom, left, right], size }: InputGradAttrs): Value {
  const [, inputs, kh, kw] = weight.shape as [number, number, number, number];
  const attributes = {
    kernel_shape: { ints: [kh, kw] },
    pads: { ints: [kh - 1 - top, kw - 1 - left, kh - 1 - bottom, kw - 1 - right] },
  };
  return node('Conv', [dy, rotatedWeight(weight)], [dy.shape[0]!, inputs, ...size], { attributes });
}

/** The input gradient at any stride, as a transposed convolution with the weight as it is. */
function transposedConv(
  dy: Value,
  weight: Value,
  { stride, pads: [top, bottom, left, right], size: [height, width] }: InputGradAttrs,
): Value {
  const [batch, , rows, columns] = dy.shape as [number, number, number, number];
  const [, inputs, kh, kw] = weight.shape as [number, number, number, number];
  const outputPadding = [
    height - ((rows - 1) * stride + kh - top - bottom),
    width - ((columns - 1) * stride + kw - left - right),
  ];
  const attributes = {
    kernel_shape: { ints: [kh, kw] },
    strides: { ints: [stride, stride] },
    pads: { ints: [top, left, bottom, right] },
    ...(outputPadding.some((n) => n > 0) && { output_padding: { ints: outputPadding } }),
  };
  return node('ConvTranspose', [dy, weight], [batch, inputs, height, width], { attributes });
}
