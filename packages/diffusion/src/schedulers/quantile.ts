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
 * torch.quantile: the quantile of each row, `[B, N]` to `[B]`, interpolated linearly between the two nearest values.
 * The gradient flows to these two values. Reads no tensor values, so that engines can record it.
 * @param ratio in [0, 1]
 */
export const quantile = (x: Tensor2D, ratio: number): Tensor1D => op({ x }, { ratio }) as Tensor1D;

// A separate op with a gradient: tfjs's TopK has none.
const op = defineOp<{ ratio: number }>({
  name: 'Quantile',
  inputsToSave: ['x'],
  forward: ({ x }, { ratio }) => {
    const { values, weights } = neighbours(x as Tensor2D, ratio);
    const terms = weights.map((weight, i) => mul(squeeze(values[i]!, [1]), weight)); // [B] each
    return terms.reduce((sum, term) => add(sum, term));
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

interface Neighbours {
  /** `[B, 1]` each. */
  readonly values: readonly Tensor[];
  /** The columns of the values, `[B, 1]` each. */
  readonly indices: readonly Tensor[];
  readonly weights: readonly number[];
}

/** Finds the lower and the upper neighbour of the quantile; the lower one alone if the quantile equals it. */
function neighbours(x: Tensor2D, ratio: number): Neighbours {
  const rank = ratio * (x.shape[1]! - 1);
  const lower = Math.floor(rank);
  const weights = rank === lower ? [1] : [1 - (rank - lower), rank - lower];
  const top = topk(x, x.shape[1]! - lower, true); // descending: the last column is the lower neighbour
  const column = (columns: Tensor, i: number) => slice(columns, [0, columns.shape[1]! - 1 - i], [-1, 1]);
  return {
    values: weights.map((_, i) => column(top.values, i)),
    indices: weights.map((_, i) => column(top.indices, i)),
    weights,
  };
}
