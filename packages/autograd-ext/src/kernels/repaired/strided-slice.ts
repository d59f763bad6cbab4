import {
  cast,
  engine,
  slice_util,
  tidy,
  type DataType,
  type KernelFunc,
  type NamedAttrMap,
  type Tensor,
  type TensorInfo,
} from '@tensorflow/tfjs-core';
import { wrapKernel } from './wrap-kernel.js';

/** The attributes of tfjs's kernel; bit i of a mask speaks of axis i. */
export interface StridedSliceAttrs {
  readonly begin: number[];
  readonly end: number[];
  readonly strides: number[];
  readonly beginMask: number;
  readonly endMask: number;
  readonly ellipsisMask: number;
  readonly newAxisMask: number;
  readonly shrinkAxisMask: number;
}

/** What a strided slice reads of each axis of `x`, every mask resolved, and the shape of the result. */
export function resolveSlice(shape: number[], a: StridedSliceAttrs) {
  const { begin, end, strides, finalShape } = slice_util.sliceInfo(
    shape,
    a.begin,
    a.end,
    a.strides,
    a.beginMask,
    a.endMask,
    a.ellipsisMask,
    a.newAxisMask,
    a.shrinkAxisMask,
  );
  return { begin, end, strides, finalShape, counts: slice_util.computeOutShape(begin, end, strides) };
}

/**
 * Corrects tf.stridedSlice where it drops an axis and reads another with a stride: tfjs takes the places of one axis
 * for those of another. Reads with all axes kept, and drops them from the shape afterwards. On wasm also for other
 * dtypes than float32, whose bits tfjs takes for those of floats.
 */
export function correctStridedSlice(): void {
  wrapKernel('StridedSlice', 'cpu', keepAxes);
  wrapKernel('StridedSlice', 'wasm', (call, original) => {
    const x = call.inputs['x'] as Tensor;
    if (x.dtype === 'bool')
      return tidy(() =>
        cast(engine().runKernel('StridedSlice', { x: cast(x, 'int32') }, call.attrs) as Tensor, 'bool'),
      );
    const y = keepAxes(call, original);
    (call.backend as { dataIdMap: { get(dataId: object): { dtype: DataType } } }).dataIdMap.get(y.dataId).dtype =
      x.dtype;
    return { ...y, dtype: x.dtype };
  });
}

function keepAxes(call: Parameters<KernelFunc>[0], original: KernelFunc): TensorInfo {
  const attrs = call.attrs as unknown as StridedSliceAttrs;
  const { begin, end, strides, counts, finalShape } = resolveSlice((call.inputs['x'] as TensorInfo).shape, attrs);
  if (!attrs.shrinkAxisMask || strides.every((stride) => stride === 1) || counts.includes(0))
    return original(call) as TensorInfo;
  const toTheStart = strides.reduce(
    (mask, stride, axis) => (stride < 0 && end[axis]! < 0 ? mask | (1 << axis) : mask),
    0,
  );
  const kept = {
    begin,
    end,
    strides,
    beginMask: 0,
    endMask: toTheStart,
    ellipsisMask: 0,
    newAxisMask: 0,
    shrinkAxisMask: 0,
  };
  return { ...(original({ ...call, attrs: kept as unknown as NamedAttrMap }) as TensorInfo), shape: finalShape };
}
