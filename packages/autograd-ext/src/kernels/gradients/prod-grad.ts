import { cumprod, mul, reshape, transpose, type Tensor } from '@tensorflow/tfjs-core';
import { replaceGradient } from '../registry/replace-gradient.js';

/** Replaces the gradient of tf.prod: dy times the product of all other elements. (tfjs's needs chained ops.) */
export const correctProd = () =>
  replaceGradient<{ axis?: number | number[] | null }>('Prod', (dy, [x], { axis }) => ({
    x: () => gradient(dy, x!, axes(axis, x!.rank)),
  }));

function axes(axis: number | number[] | null | undefined, rank: number): number[] {
  if (axis === null || axis === undefined) return Array.from({ length: rank }, (_, i) => i);
  return [axis].flat().map((i) => (i + rank) % rank);
}

function gradient(dy: Tensor, x: Tensor, reduced: number[]): Tensor {
  const order = [...x.shape.keys()].filter((i) => !reduced.includes(i)).concat(reduced);
  const last = transpose(x, order);
  const rows = reshape(last, [dy.size, -1]); // [kept, reduced]
  // The product of all elements before and of all after: no division, so that elements may be 0.
  const others = mul(cumprod(rows, 1, true, false), cumprod(rows, 1, true, true));
  const dx = reshape(mul(others, reshape(dy, [-1, 1])), last.shape);
  return transpose(
    dx,
    order.map((_, i) => order.indexOf(i)),
  );
}
