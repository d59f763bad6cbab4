import {
  add,
  gather,
  mul,
  range,
  reshape,
  scalar,
  tidy,
  transpose,
  unsortedSegmentSum,
  zeros,
  type Tensor,
  type Tensor1D,
} from '@tensorflow/tfjs-core';
import { replaceGradient } from '../gradients/correct-gradient.js';
import { wrapKernel } from './wrap-kernel.js';
import { elementCount } from '../../params.js';

interface GatherAttrs {
  readonly axis: number;
  readonly batchDims?: number;
}

/**
 * Corrects tf.gather on wasm where batchDims is not 0: tfjs takes the slices of the first example for those of the
 * others.
 */
export const gatherInBatchesOnWasm = () =>
  wrapKernel('GatherV2', 'wasm', (call, original) => {
    const attrs = call.attrs as unknown as GatherAttrs;
    if (!attrs.batchDims) return original(call);
    return tidy(() => {
      const [x, indices] = [call.inputs['x'], call.inputs['indices']] as [Tensor, Tensor];
      const { batch, outer, size, read, inner, rows, shape } = sizes(x.shape, indices, attrs);
      const slices = reshape(transpose(reshape(x, [batch, outer, size, inner]), [0, 2, 1, 3]), [
        batch * size,
        outer * inner,
      ]);
      const found = reshape(gather(slices, rows()), [batch, read, outer, inner]);
      return reshape(transpose(found, [0, 2, 1, 3]), shape);
    });
  });

/**
 * The gradient of tf.gather: each slice that was read gets what all its copies got. (tfjs's needs chained ops where
 * batchDims is not 0.)
 */
export const correctGatherGradient = () =>
  replaceGradient<GatherAttrs>('GatherV2', (dy, [x, indices], attrs) => ({
    x: () => gradient(dy, x!.shape, indices!, attrs),
    indices: () => zeros(indices!.shape),
  }));

function gradient(dy: Tensor, shape: number[], indices: Tensor, attrs: GatherAttrs): Tensor {
  const { batch, outer, size, read, inner, rows } = sizes(shape, indices, attrs);
  const slices = reshape(transpose(reshape(dy, [batch, outer, read, inner]), [0, 2, 1, 3]), [
    batch * read,
    outer * inner,
  ]);
  const sums = reshape(unsortedSegmentSum(slices, rows(), batch * size), [batch, size, outer, inner]);
  return reshape(transpose(sums, [0, 2, 1, 3]), shape);
}

/** x as `[batch, outer, size, inner]`, of which `read` slices are read an example. */
function sizes(x: number[], indices: Tensor, { axis, batchDims = 0 }: GatherAttrs) {
  const at = (axis + x.length) % x.length;
  const shape = [...x.slice(0, at), ...indices.shape.slice(batchDims), ...x.slice(at + 1)];
  const [batch, outer, inner] = [x.slice(0, batchDims), x.slice(batchDims, at), x.slice(at + 1)].map(elementCount) as [
    number,
    number,
    number,
  ];
  const [size, read] = [x[at]!, elementCount(indices.shape.slice(batchDims))];
  /** The places of what is read in `[batch · size]`. */
  const rows = (): Tensor1D => {
    const firsts = mul(range(0, batch, 1, 'int32'), scalar(size, 'int32'));
    return reshape(add(reshape(indices, [batch, read]), reshape(firsts, [batch, 1])), [-1]);
  };
  return { batch, outer, size, read, inner, rows, shape };
}
