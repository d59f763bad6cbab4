import {
  add,
  mul,
  range,
  reshape,
  scalar,
  transpose,
  unsortedSegmentSum,
  zeros,
  type Tensor,
  type Tensor1D,
} from '@tensorflow/tfjs-core';
import { elementCount } from '../../params.js';
import { replaceGradient } from '../registry/replace-gradient.js';

/** The attributes of tfjs's GatherV2 kernel. */
export interface GatherAttrs {
  readonly axis: number;
  readonly batchDims?: number;
}

/**
 * Corrects the gradient of tf.gather: sums into each slice the gradients of all its copies. (tfjs's needs chained ops
 * where batchDims is not 0.)
 */
export const correctGatherGradient = () =>
  replaceGradient<GatherAttrs>('GatherV2', (dy, [x, indices], attrs) => ({
    x: () => gradient(dy, x!.shape, indices!, attrs),
    indices: () => zeros(indices!.shape),
  }));

function gradient(dy: Tensor, shape: number[], indices: Tensor, attrs: GatherAttrs): Tensor {
  const { batch, outer, size, count, inner, rows } = gatherLayout(shape, indices, attrs);
  const slices = reshape(transpose(reshape(dy, [batch, outer, count, inner]), [0, 2, 1, 3]), [
    batch * count,
    outer * inner,
  ]);
  const sums = reshape(unsortedSegmentSum(slices, rows(), batch * size), [batch, size, outer, inner]);
  return reshape(transpose(sums, [0, 2, 1, 3]), shape);
}

/**
 * Views the gathered tensor as `[batch, outer, size, inner]` and the result as `[batch, outer, count, inner]`. `shape`
 * is the shape of the result; `rows()` gives the slices read, as indices `[batch · count]` into `[batch · size]`.
 */
export function gatherLayout(inputShape: number[], indices: Tensor, { axis, batchDims = 0 }: GatherAttrs) {
  const at = (axis + inputShape.length) % inputShape.length;
  const shape = [...inputShape.slice(0, at), ...indices.shape.slice(batchDims), ...inputShape.slice(at + 1)];
  const batch = elementCount(inputShape.slice(0, batchDims));
  const outer = elementCount(inputShape.slice(batchDims, at));
  const inner = elementCount(inputShape.slice(at + 1));
  const [size, count] = [inputShape[at]!, elementCount(indices.shape.slice(batchDims))];
  const rows = (): Tensor1D => {
    const firsts = mul(range(0, batch, 1, 'int32'), scalar(size, 'int32'));
    return reshape(add(reshape(indices, [batch, count]), reshape(firsts, [batch, 1])), [-1]);
  };
  return { batch, outer, size, count, inner, rows, shape };
}
