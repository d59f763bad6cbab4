import { bytesOf, node, type Value } from '../graph/graph.js';
import {
  beforeRepeating,
  convRepeated,
  inputGradients,
  isThreeByThree,
  turnedKernel,
} from '../passes/conv-repeated.js';
import { registerKernelEmitter } from '../recorder/recorder.js';
import { ordered, plain, viewOf, type View } from '../recorder/view.js';
import { elementCount } from '../../../params.js';

/** ONNX's images have channels first. */
export const channelsFirst = [0, 3, 1, 2] as const;
export const image = (view: View): Value => ordered(view, channelsFirst);
export const imageView = (value: Value): View => viewOf(value, channelsFirst);

interface ConvAttrs {
  readonly stride: number;
  readonly pads: readonly [top: number, bottom: number, left: number, right: number];
}

registerKernelEmitter<ConvAttrs>('ConvOIHW', ({ x, weight, bias }, { stride, pads: [top, bottom, left, right] }) => {
  const [batch, , height, width] = image(x!).shape as [number, number, number, number];
  const [outputs, , kh, kw] = weight!.shape as [number, number, number, number];
  const shape = [
    batch,
    outputs,
    Math.floor((height + top + bottom - kh) / stride) + 1,
    Math.floor((width + left + right - kw) / stride) + 1,
  ];
  const small =
    isThreeByThree(plain(weight!), stride, [top, bottom, left, right]) &&
    isWorthACopy(plain(weight!), elementCount(shape) / outputs) &&
    beforeRepeating(image(x!));
  if (small) return imageView(convRepeated(small, plain(weight!), bias && plain(bias)));
  const attributes = {
    kernel_shape: { ints: [kh, kw] },
    strides: { ints: [stride, stride] },
    pads: { ints: [top, left, bottom, right] },
  };
  const inputs = bias ? [image(x!), plain(weight!), plain(bias)] : [image(x!), plain(weight!)];
  return imageView(node('Conv', inputs, shape, { attributes }));
});

interface InputGradAttrs extends ConvAttrs {
  readonly size: readonly [height: number, width: number];
}

/**
 * Whether a copy of a weight, turned or summed up, is worth its memory: it is small, or a call uses it often. The
 * weights of small images are the largest.
 */
const isWorthACopy = (weight: Value, uses: number): boolean => uses >= 1024 || bytesOf(weight) <= 2 ** 22;

registerKernelEmitter<InputGradAttrs>('ConvOIHWInputGrad', ({ dy, weight }, attrs) => {
  const [gradient, kernel] = [image(dy!), plain(weight!)];
  const uses = gradient.shape[0]! * gradient.shape[2]! * gradient.shape[3]!;
  const isWorthIt = isWorthACopy(kernel, uses);
  const result =
    attrs.stride === 1 && isWorthIt ? turned(gradient, kernel, attrs) : transposedConv(gradient, kernel, attrs);
  if (isWorthIt && isThreeByThree(kernel, attrs.stride, attrs.pads))
    inputGradients.set(result, { dy: gradient, weight: kernel });
  return imageView(result);
});

/**
 * At stride 1, the convolution with the weight turned by half a turn, inputs and outputs exchanged. ONNX Runtime turns
 * a frozen weight when the session starts; on large images it then convolves twice as fast as it does transposed.
 */
function turned(dy: Value, weight: Value, { pads: [top, bottom, left, right], size }: InputGradAttrs): Value {
  const [, inputs, kh, kw] = weight.shape as [number, number, number, number];
  const attributes = {
    kernel_shape: { ints: [kh, kw] },
    pads: { ints: [kh - 1 - top, kw - 1 - left, kh - 1 - bottom, kw - 1 - right] },
  };
  return node('Conv', [dy, turnedKernel(weight)], [dy.shape[0]!, inputs, ...size], { attributes });
}

/** Takes the weight as it lies. */
function transposedConv(
  dy: Value,
  weight: Value,
  { stride, pads: [top, bottom, left, right], size: [height, width] }: InputGradAttrs,
): Value {
  const [batch, , rows, columns] = dy.shape as [number, number, number, number];
  const [, inputs, kh, kw] = weight.shape as [number, number, number, number];
  const missing = [
    height - ((rows - 1) * stride + kh - top - bottom),
    width - ((columns - 1) * stride + kw - left - right),
  ];
  const attributes = {
    kernel_shape: { ints: [kh, kw] },
    strides: { ints: [stride, stride] },
    pads: { ints: [top, left, bottom, right] },
    ...(missing.some((n) => n > 0) && { output_padding: { ints: missing } }),
  };
  return node('ConvTranspose', [dy, weight], [batch, inputs, height, width], { attributes });
}
