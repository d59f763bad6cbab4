import { constant, node, type Value } from '../graph/graph.js';
import { reshaped } from '../recorder/view.js';
import { transpose } from './builders.js';

// Parts of attention, of its gradient and of its composition from products.

/** `[B, N, C]` to `[B, heads, N, C/heads]`. */
export const splitHeads = (x: Value, heads: number): Value => {
  const [batch, length, channels] = x.shape as [number, number, number];
  return transpose(reshaped(x, [batch, length, heads, channels / heads]), [0, 2, 1, 3]);
};
/** To `[B, N, C]`; `perm` takes x to `[B, N, heads, C/heads]`. */
export const mergeHeads = (x: Value, perm: readonly number[]): Value => {
  const split = transpose(x, perm);
  const [batch, length, heads, width] = split.shape as [number, number, number, number];
  return reshaped(split, [batch, length, heads * width]);
};
/** Zeros where query i sees key j, j ≤ i, else -1e30; the queries begin at `first`. */
export const causalMask = (queries: number, keys: number, first = 0): Value => {
  const values = Float32Array.from({ length: queries * keys }, (_, i) =>
    i % keys <= first + Math.floor(i / keys) ? 0 : -1e30,
  );
  return constant(values, [queries, keys]);
};
/** Swaps the last two axes. */
export const swapLast = (x: Value): Value => transpose(x, x.shape.length === 2 ? [1, 0] : [0, 1, 3, 2]);
/** Softmax over the last axis. */
export const softmax = (x: Value): Value => node('Softmax', [x], x.shape, { attributes: { axis: { int: -1 } } });
