import { node, type Value } from '../graph.js';
import { recordKernel } from '../recorder.js';
import { ordered, plain, viewOf, type View } from '../view.js';

/** ONNX's images have channels first. */
export const channelsFirst = [0, 3, 1, 2] as const;
export const image = (view: View): Value => ordered(view, channelsFirst);
export const imageView = (value: Value): View => viewOf(value, channelsFirst);

interface ConvAttrs {
  readonly stride: number;
  readonly pads: readonly [top: number, bottom: number, left: number, right: number];
}

recordKernel<ConvAttrs>('ConvOIHW', ({ x, weight, bias }, { stride, pads: [top, bottom, left, right] }) => {
  const [batch, , height, width] = image(x!).shape as [number, number, number, number];
  const [outputs, , kh, kw] = weight!.shape as [number, number, number, number];
  const shape = [batch, outputs, Math.floor((height + top + bottom - kh) / stride) + 1, Math.floor((width + left + right - kw) / stride) + 1];
  const attributes = { kernel_shape: { ints: [kh, kw] }, strides: { ints: [stride, stride] }, pads: { ints: [top, left, bottom, right] } };
  const inputs = bias ? [image(x!), plain(weight!), plain(bias)] : [image(x!), plain(weight!)];
  return imageView(node('Conv', inputs, shape, { attributes }));
});

// A transposed convolution takes the weight as it lies.
recordKernel<ConvAttrs & { size: readonly [number, number] }>('ConvOIHWInputGrad', ({ dy, weight }, { stride, pads: [top, bottom, left, right], size: [height, width] }) => {
  const [batch, , rows, columns] = image(dy!).shape as [number, number, number, number];
  const [, inputs, kh, kw] = weight!.shape as [number, number, number, number];
  const missing = [height - ((rows - 1) * stride + kh - top - bottom), width - ((columns - 1) * stride + kw - left - right)];
  const attributes = {
    kernel_shape: { ints: [kh, kw] },
    strides: { ints: [stride, stride] },
    pads: { ints: [top, left, bottom, right] },
    ...(missing.some((n) => n > 0) && { output_padding: { ints: missing } }),
  };
  return imageView(node('ConvTranspose', [image(dy!), plain(weight!)], [batch, inputs, height, width], { attributes }));
});
