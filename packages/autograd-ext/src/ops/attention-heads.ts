import {
  add,
  expandDims,
  greaterEqual,
  range,
  reshape,
  transpose,
  where,
  type Tensor,
  type Tensor3D,
} from '@tensorflow/tfjs-core';

/** `[B, N, C]` to `[B·heads, N, C/heads]`. */
export function splitHeads(x: Tensor, heads: number): Tensor3D {
  const [batch, length, channels] = x.shape as [number, number, number];
  return reshape(transpose(reshape(x, [batch, length, heads, channels / heads]), [0, 2, 1, 3]), [
    batch * heads,
    length,
    channels / heads,
  ]);
}

/** `[B·heads, N, C/heads]` to `[B, N, C]`. */
export function mergeHeads(x: Tensor, heads: number): Tensor3D {
  const [batches, length, width] = x.shape as [number, number, number];
  return reshape(transpose(reshape(x, [batches / heads, heads, length, width]), [0, 2, 1, 3]), [
    batches / heads,
    length,
    heads * width,
  ]);
}

/**
 * Scores `[..., N, M]` with the keys after each query made invisible. Large and finite: infinities turn into NaN where
 * they meet zeros.
 */
export function masked<T extends Tensor>(scores: T): T {
  const [queries, keys] = scores.shape.slice(-2) as [number, number];
  const visible = greaterEqual(expandDims(range(0, queries), 1), expandDims(range(0, keys), 0)); // [N, M]
  return add(scores, where(visible, 0, -1e30));
}
