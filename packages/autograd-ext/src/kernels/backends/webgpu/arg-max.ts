import {
  equal,
  fill,
  max,
  min,
  range,
  reshape,
  tidy,
  util,
  where,
  type NamedAttrMap,
  type Tensor,
} from '@tensorflow/tfjs-core';
import { wrapKernel } from '../../registry/wrap-kernel.js';

/** Makes tf.argMax and tf.argMin return the first of several equal values on WebGPU: tfjs returns any. */
export function findFirstOnWebGPU(): void {
  wrapKernel('ArgMax', 'webgpu', ({ inputs, attrs }) => first(inputs['x'] as Tensor, attrs, max));
  wrapKernel('ArgMin', 'webgpu', ({ inputs, attrs }) => first(inputs['x'] as Tensor, attrs, min));
}

const first = (x: Tensor, attrs: NamedAttrMap | undefined, extreme: typeof max): Tensor =>
  tidy(() => {
    const [axis] = util.parseAxisParam(attrs!['axis'] as number, x.shape) as [number];
    const size = x.shape[axis]!;
    const along = x.shape.map((_, i) => (i === axis ? size : 1));
    const positions = reshape(range(0, size, 1, 'int32'), along);
    // A NaN equals nothing: a row of which none is the extreme gets the last position.
    const others = fill(along, size - 1, 'int32');
    return min(where(equal(x, extreme(x, axis, true)), positions, others), axis);
  });
