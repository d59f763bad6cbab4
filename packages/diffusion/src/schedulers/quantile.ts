import {
  add,
  cast,
  mul,
  oneHot,
  reshape,
  slice,
  squeeze,
  topk,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
} from '@tensorflow/tfjs-core';
import { defineOp } from '@alignprop/autograd-ext';

/**
 * The quantile of each row, `[B, N]` to `[B]`, interpolated linearly between the two nearest values: torch.quantile.
 * The gradient goes to those two values, as in torch. No tensor value is read.
 * @param ratio in [0, 1]
 */
export const quantile = (x: Tensor2D, ratio: number): Tensor1D => op({ x }, { ratio }) as Tensor1D;

// An op of its own, because tfjs's TopK has no gradient.
const op = defineOp<{ ratio: number }>({
  name: 'Quantile',
  inputsToSave: ['x'],
  forward: ({ x }, { ratio }) => {
    const { values, weights } = neighbours(x as Tensor2D, ratio);
    // [B]
    return weights.map((weight, i) => mul(squeeze(values[i]!, [1]), weight)).reduce((sum, term) => add(sum, term));
  },
  gradient: (dy, [x], { ratio }) => ({
    x: () => {
      const { indices, weights } = neighbours(x as Tensor2D, ratio);
      const jacobian = weights
        .map((weight, i) => mul(cast(oneHot(squeeze(indices[i]!, [1]) as Tensor1D, x!.shape[1]!), 'float32'), weight))
        .reduce((sum, term) => add(sum, term)); // [B, N]
      return mul(jacobian, reshape(dy, [-1, 1]));
    },
  }),
});

/**
 * The values on either side of the quantile, `[B, 1]` each, where they are, and their weights; only the lower one where
 * it is met.
 */
function neighbours(x: Tensor2D, ratio: number): { values: Tensor[]; indices: Tensor[]; weights: number[] } {
  const rank = ratio * (x.shape[1]! - 1);
  const lower = Math.floor(rank);
  const weights = rank === lower ? [1] : [1 - (rank - lower), rank - lower];
  const top = topk(x, x.shape[1]! - lower, true); // largest first: the last column is the lower neighbour
  const column = (columns: Tensor, i: number) => slice(columns, [0, columns.shape[1]! - 1 - i], [-1, 1]);
  return {
    values: weights.map((_, i) => column(top.values, i)),
    indices: weights.map((_, i) => column(top.indices, i)),
    weights,
  };
}
