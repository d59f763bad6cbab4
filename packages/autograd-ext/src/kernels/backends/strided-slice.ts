import {
  cast,
  engine,
  tidy,
  type KernelFunc,
  type NamedAttrMap,
  type Tensor,
  type TensorInfo,
} from '@tensorflow/tfjs-core';
import { resolveSlice, type StridedSliceAttrs } from '../geometry/strided-slice.js';
import type { WasmBackend } from '../registry/wasm-backend.js';
import { wrapKernel } from '../registry/wrap-kernel.js';

/**
 * Corrects tf.stridedSlice where it drops one axis and reads another with a stride: tfjs applies the begin and stride
 * of one axis to another, but for TensorFlow's backend. Slices with all axes kept, then drops them from the shape.
 * On wasm also corrects dtypes other than float32: tfjs labels their bits as float32.
 */
export function correctStridedSlice(): void {
  for (const backend of ['cpu', 'webgl', 'webgpu']) wrapKernel('StridedSlice', backend, sliceKeepingAxes);
  wrapKernel('StridedSlice', 'wasm', (call, original) => {
    const x = call.inputs['x'] as Tensor;
    if (x.dtype === 'bool')
      return tidy(() =>
        cast(engine().runKernel('StridedSlice', { x: cast(x, 'int32') }, call.attrs) as Tensor, 'bool'),
      );
    const y = sliceKeepingAxes(call, original);
    (call.backend as WasmBackend).dataIdMap.get(y.dataId).dtype = x.dtype;
    return { ...y, dtype: x.dtype };
  });
}

function sliceKeepingAxes(call: Parameters<KernelFunc>[0], original: KernelFunc): TensorInfo {
  const attrs = call.attrs as unknown as StridedSliceAttrs;
  const { begin, end, strides, counts, finalShape } = resolveSlice((call.inputs['x'] as TensorInfo).shape, attrs);
  if (!attrs.shrinkAxisMask || strides.every((stride) => stride === 1) || counts.includes(0))
    return original(call) as TensorInfo;
  // An `end` of -1 would count from the back of the axis: a backward slice down to index 0 is written as a mask.
  const endMask = strides.reduce((mask, stride, axis) => (stride < 0 && end[axis]! < 0 ? mask | (1 << axis) : mask), 0);
  const masks = { beginMask: 0, endMask, ellipsisMask: 0, newAxisMask: 0, shrinkAxisMask: 0 };
  const slice = original({
    ...call,
    attrs: { begin, end, strides, ...masks } as unknown as NamedAttrMap,
  }) as TensorInfo;
  return { ...slice, shape: finalShape };
}
