import { backend_util, type NamedAttrMap, type TensorInfo } from '@tensorflow/tfjs-core';
import { explicitPadding } from '../../geometry/explicit-padding.js';
import { wrapKernel } from '../../registry/wrap-kernel.js';

type Shape4D = [number, number, number, number];
interface WindowAttrs {
  readonly filterSize: number | [number, number];
  readonly strides: number | [number, number];
  readonly dilations: number | [number, number];
  readonly pad: number | 'same' | 'valid';
  readonly dimRoundingMode?: 'floor' | 'round' | 'ceil';
}

const pools = ['AvgPool', 'MaxPool'];
const convolutions = ['Conv2D', 'FusedConv2D', 'DepthwiseConv2dNative', 'FusedDepthwiseConv2D'];

/**
 * Corrects convolutions and pools on wasm whose padding is a number and whose window or stride is not square. tfjs
 * computes their output shape from the height and vertical stride alone; the wasm kernels then write values to wrong
 * addresses, even outside the tensor. Passes the explicit padding that gives the same shape, as on the cpu backend.
 */
export function makePaddingExplicitOnWasm(): void {
  for (const name of [...pools, ...convolutions]) {
    wrapKernel(name, 'wasm', (call, original) => {
      const attrs = call.attrs as unknown as WindowAttrs;
      if (typeof attrs.pad !== 'number') return original(call);
      const info = windowInfo(name, call.inputs as Record<string, TensorInfo>, attrs);
      if (info.filterHeight === info.filterWidth && info.strideHeight === info.strideWidth) return original(call);
      const pad = [[0, 0], ...explicitPadding(name, info), [0, 0]];
      return original({ ...call, attrs: { ...attrs, pad } as unknown as NamedAttrMap });
    });
  }
}

function windowInfo(
  name: string,
  { x, filter }: Record<string, TensorInfo>,
  { filterSize, strides, dilations, pad, dimRoundingMode }: WindowAttrs,
): backend_util.Conv2DInfo {
  const shape = x!.shape as Shape4D;
  if (pools.includes(name)) return backend_util.computePool2DInfo(shape, filterSize, strides, 1, pad, dimRoundingMode);
  const isDepthwise = name.includes('Depthwise');
  const filterShape = filter!.shape as Shape4D;
  return backend_util.computeConv2DInfo(shape, filterShape, strides, dilations, pad, dimRoundingMode, isDepthwise);
}
