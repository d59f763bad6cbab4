import { backend_util, type NamedAttrMap, type TensorInfo } from '@tensorflow/tfjs-core';
import { wrapKernel } from './wrap-kernel.js';

type Shape4D = [number, number, number, number];
type Attrs = {
  filterSize: number | [number, number];
  strides: number | [number, number];
  dilations: number | [number, number];
  pad: number | 'same' | 'valid';
  dimRoundingMode?: 'floor' | 'round' | 'ceil';
};
type Info = backend_util.Conv2DInfo;

const pools = ['AvgPool', 'MaxPool'];
const convolutions = ['Conv2D', 'FusedConv2D', 'DepthwiseConv2dNative', 'FusedDepthwiseConv2D'];

/**
 * Where padding is a number, tfjs takes the height and vertical stride of a window for its width and horizontal stride
 * when it computes the output's shape; on wasm, wherever they differ, values then land in wrong places, or outside the
 * memory. States the padding that gives this shape instead, as the cpu backend understands it.
 */
export function statePaddingOnWasm(): void {
  for (const name of [...pools, ...convolutions]) {
    wrapKernel(name, 'wasm', (call, original) => {
      const attrs = call.attrs as unknown as Attrs;
      if (typeof attrs.pad !== 'number') return original(call);
      const info = windows(name, call.inputs as Record<string, TensorInfo>, attrs);
      if (info.filterHeight === info.filterWidth && info.strideHeight === info.strideWidth) return original(call);
      return original({
        ...call,
        attrs: { ...attrs, pad: [[0, 0], ...neededPadding(name, info), [0, 0]] } as unknown as NamedAttrMap,
      });
    });
  }
}

function windows(
  name: string,
  { x, filter }: Record<string, TensorInfo>,
  { filterSize, strides, dilations, pad, dimRoundingMode }: Attrs,
): Info {
  const shape = x!.shape as Shape4D;
  if (pools.includes(name)) return backend_util.computePool2DInfo(shape, filterSize, strides, 1, pad, dimRoundingMode);
  return backend_util.computeConv2DInfo(
    shape,
    filter!.shape as Shape4D,
    strides,
    dilations,
    pad,
    dimRoundingMode,
    name.includes('Depthwise'),
  );
}

/** Zeros before and after the rows and the columns, so that the windows just reach the end. */
export function neededPadding(name: string, info: Info): [rows: [number, number], columns: [number, number]] {
  const { top, left } = info.padInfo;
  const bottom = (info.outHeight - 1) * info.strideHeight + info.effectiveFilterHeight - info.inHeight - top;
  const right = (info.outWidth - 1) * info.strideWidth + info.effectiveFilterWidth - info.inWidth - left;
  const unread = Math.max(-bottom - info.strideHeight, -right - info.strideWidth) + 1;
  if (unread > 0)
    throw new Error(
      `${name}: pad got ${left} for windows [${[info.filterHeight, info.filterWidth]}] and strides [${[info.strideHeight, info.strideWidth]}], expected one number an edge. Write it as [[0, 0], [top, bottom], [left, right], [0, 0]], or 'valid'.`,
    );
  return [
    [top, Math.max(0, bottom)],
    [left, Math.max(0, right)],
  ];
}
