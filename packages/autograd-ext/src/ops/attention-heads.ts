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

/** Splits the channels of `[B, N, C]` into heads: `[B·heads, N, C/heads]`. */
export function splitHeads(x: Tensor, heads: number): Tensor3D {
  const [batch, length, channels] = x.shape as [number, number, number];
  const width = channels / heads;
  const split = transpose(reshape(x, [batch, length, heads, width]), [0, 2, 1, 3]); // [B, heads, N, C/heads]
  return reshape(split, [batch * heads, length, width]);
}

/** Merges heads `[B·heads, N, C/heads]` back into channels: `[B, N, C]`. */
export function mergeHeads(x: Tensor, heads: number): Tensor3D {
  const [batches, length, width] = x.shape as [number, number, number];
  const batch = batches / heads;
  const merged = transpose(reshape(x, [batch, heads, length, width]), [0, 2, 1, 3]); // [B, N, heads, C/heads]
  return reshape(merged, [batch, length, heads * width]);
}

/**
 * Applies the causal mask to scores `[..., N, M]`: adds -1e30 where the key comes after the query. Not -Infinity, which
 * gives NaN when it is multiplied by 0.
 */
export function causalMask<T extends Tensor>(scores: T): T {
  const [queries, keys] = scores.shape.slice(-2) as [number, number];
  const visible = greaterEqual(expandDims(range(0, queries), 1), expandDims(range(0, keys), 0)); // [N, M]
  return add(scores, where(visible, 0, -1e30));
}
