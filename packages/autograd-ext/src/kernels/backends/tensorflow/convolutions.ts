import { add, backend_util, tensor1d, tidy, type Tensor, type TensorInfo } from '@tensorflow/tfjs-core';
import { record } from '../../../outside/record.js';
import { explicitPadding } from '../../geometry/explicit-padding.js';
import type { Attributes, TensorflowBackend } from '../../registry/tensorflow-backend.js';
import { wrapKernel } from '../../registry/wrap-kernel.js';
import { product } from './product.js';

type Shape4D = [number, number, number, number];

/** The attributes of tfjs's kernels of convolutions and of their gradients. */
interface ConvAttrs {
  readonly strides: number | [number, number];
  readonly pad: 'same' | 'valid' | number | backend_util.ExplicitPadding;
  readonly dataFormat?: 'NHWC' | 'NCHW';
  readonly dilations?: number | [number, number];
  readonly dimRoundingMode?: 'floor' | 'round' | 'ceil';
  readonly filterShape?: Shape4D;
  readonly inputShape?: Shape4D;
}

interface FusedAttrs extends ConvAttrs {
  readonly activation?: string;
  readonly leakyreluAlpha?: number;
}

type Inputs = Readonly<Record<string, TensorInfo>>;

interface Convolution {
  readonly isDepthwise: boolean;
  /** The operands of TensorFlow's op, in its order. */
  readonly operands: (inputs: Inputs, attrs: ConvAttrs) => readonly TensorInfo[];
}

const shapeTensor = (shape: Shape4D | undefined) => tensor1d(shape!, 'int32');

const convolutions = record<Convolution>();
for (const [name, isDepthwise] of [
  ['Conv2D', false],
  ['DepthwiseConv2dNative', true],
] as const) {
  convolutions[name] = { isDepthwise, operands: ({ x, filter }) => [x!, filter!] };
  convolutions[`${name}BackpropInput`] = {
    isDepthwise,
    operands: ({ dy, filter }, { inputShape }) => [shapeTensor(inputShape), filter!, dy!],
  };
  convolutions[`${name}BackpropFilter`] = {
    isDepthwise,
    operands: ({ x, dy }, { filterShape }) => [x!, shapeTensor(filterShape), dy!],
  };
}

/**
 * Runs convolutions and their gradients with TensorFlow's kernels in any padding, which tfjs-node refuses or passes on
 * wrongly, and in the precision of products.
 */
export function convolveOnTensorflow(): void {
  for (const name of Object.keys(convolutions))
    wrapKernel(name, 'tensorflow', ({ inputs, attrs, backend }) =>
      tidy(() => convolve(backend as TensorflowBackend, name, inputs as Inputs, attrs as unknown as ConvAttrs)),
    );
  for (const [fused, plain] of [
    ['FusedConv2D', 'Conv2D'],
    ['FusedDepthwiseConv2D', 'DepthwiseConv2dNative'],
  ] as const)
    wrapKernel(fused, 'tensorflow', ({ inputs, attrs, backend }) =>
      tidy(() => convolveFused(backend as TensorflowBackend, plain, inputs as Record<string, Tensor>, attrs as never)),
    );
}

function convolveFused(
  backend: TensorflowBackend,
  plain: string,
  inputs: Record<string, Tensor>,
  { activation, leakyreluAlpha, ...attrs }: FusedAttrs,
): Tensor {
  const y = convolve(backend, plain, inputs, attrs);
  const sum = inputs['bias'] ? add(y, inputs['bias']) : y;
  return backend.applyActivation(sum, activation, inputs['preluActivationWeights'], leakyreluAlpha);
}

function convolve(backend: TensorflowBackend, name: string, inputs: Inputs, attrs: ConvAttrs): Tensor {
  const { isDepthwise, operands } = convolutions[name]!;
  return product(backend, name, attributesOf(name, isDepthwise, inputs, attrs), operands(inputs, attrs));
}

function attributesOf(
  name: string,
  isDepthwise: boolean,
  { x, filter }: Inputs,
  { strides, pad, dataFormat = 'NHWC', dilations, dimRoundingMode, ...shapes }: ConvAttrs,
): Attributes {
  const info = backend_util.computeConv2DInfo(
    (shapes.inputShape ?? x!.shape) as Shape4D,
    (shapes.filterShape ?? filter!.shape) as Shape4D,
    strides,
    dilations ?? 1,
    pad,
    dimRoundingMode,
    isDepthwise,
    backend_util.convertConv2DDataFormat(dataFormat),
  );
  const perAxis = (vertical: number, horizontal: number) => ({
    int: dataFormat === 'NHWC' ? [1, vertical, horizontal, 1] : [1, 1, vertical, horizontal],
  });
  return {
    strides: perAxis(info.strideHeight, info.strideWidth),
    dilations: perAxis(info.dilationHeight, info.dilationWidth),
    data_format: { string: dataFormat },
    ...paddingOf(name, info, pad, dataFormat),
  };
}

function paddingOf(
  name: string,
  info: backend_util.Conv2DInfo,
  pad: ConvAttrs['pad'],
  dataFormat: 'NHWC' | 'NCHW',
): Attributes {
  if (typeof pad === 'string') return { padding: { string: pad.toUpperCase() } };
  const [rows, columns] = explicitPadding(name, info);
  const pads = dataFormat === 'NHWC' ? [[0, 0], rows, columns, [0, 0]] : [[0, 0], [0, 0], rows, columns];
  return { padding: { string: 'EXPLICIT' }, explicit_paddings: { int: pads.flat() } };
}
