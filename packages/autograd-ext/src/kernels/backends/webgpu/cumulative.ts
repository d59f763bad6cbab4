import {
  concat,
  engine,
  fill,
  reverse,
  slice,
  tidy,
  transpose,
  util,
  type NamedAttrMap,
  type Tensor,
} from '@tensorflow/tfjs-core';
import { wrapKernel } from '../../registry/wrap-kernel.js';

/**
 * Cumulates backwards and exclusively on WebGPU by other ops, since tfjs reads beyond the rows there, and integers
 * along the last axis, since tfjs transposes with its shader for float32.
 */
export function cumulateOnWebGPU(): void {
  cumulate('Cumsum', 0);
  cumulate('Cumprod', 1);
}

interface CumulationAttrs {
  readonly axis: number;
  readonly exclusive: boolean;
  readonly reverse: boolean;
}

/** @param start the first value of an exclusive row */
const cumulate = (kernelName: string, start: number): void =>
  wrapKernel(kernelName, 'webgpu', (call, original) => {
    const x = call.inputs['x'] as Tensor;
    const { axis: along, exclusive, reverse: backwards } = call.attrs as unknown as CumulationAttrs;
    const [axis] = util.parseAxisParam(along, x.shape) as [number];
    const last = x.rank - 1;
    if (!exclusive && !backwards && (x.dtype === 'float32' || axis === last)) return original(call);
    return tidy(() => {
      const swap = x.shape.map((_, i) => (i === axis ? last : i === last ? axis : i));
      const turned = (rows: Tensor) => (backwards ? reverse(rows, last) : rows);
      const attrs: NamedAttrMap = { axis: last, exclusive: false, reverse: false };
      const inclusive = engine().runKernel(kernelName, { x: turned(transpose(x, swap)) }, attrs) as Tensor;
      return transpose(turned(exclusive ? shifted(inclusive, start) : inclusive), swap);
    });
  });

/** Moves the values of each row by one, with `start` in front. */
function shifted(x: Tensor, start: number): Tensor {
  const rows = x.shape.slice(0, -1);
  const origin = x.shape.map(() => 0);
  const front = fill([...rows, 1], start, x.dtype as 'float32' | 'int32');
  return concat([front, slice(x, origin, [...rows, x.shape.at(-1)! - 1])], rows.length);
}
