import { exponential } from './exponential';
import { VECTOR, endOf, maxOfLanes, multiplyAdd, sumOfLanes } from './vector';

/**
 * Softmax of a row in place: eˣ⁻ᵐ / Σ eˣ⁻ᵐ with m the largest x.
 *
 * @param width a multiple of 4
 * @param visible the values that take part; those from there to `width` (masked keys, padding) become 0
 */
export function softmaxRow(row: usize, visible: i32, width: i32): void {
  const end = endOf(row, width);
  for (let at = endOf(row, visible); at < end; at += 4) store<f32>(at, -Infinity);

  let largest = f32x4.splat(-Infinity);
  for (let at = row; at < end; at += VECTOR) largest = f32x4.max(largest, v128.load(at));
  largest = f32x4.splat(maxOfLanes(largest));

  let sum = f32x4.splat(0);
  for (let at = row; at < end; at += VECTOR) {
    const e = exponential(f32x4.sub(v128.load(at), largest));
    v128.store(at, e);
    sum = f32x4.add(sum, e);
  }

  const factor = f32x4.splat(1 / sumOfLanes(sum));
  for (let at = row; at < end; at += VECTOR) v128.store(at, f32x4.mul(v128.load(at), factor));
}

/**
 * The gradient of `softmax(scale · x)` for a row, written over `dp`: scale · p · (dp - Σ p · dp).
 *
 * @param p the probabilities, softmax's result
 * @param dp the gradient of the probabilities
 * @param width a multiple of 4
 */
export function softmaxGradRow(p: usize, dp: usize, width: i32, scale: f32): void {
  const end = endOf(p, width);
  let products = f32x4.splat(0);
  for (let at = p, dpAt = dp; at < end; at += VECTOR, dpAt += VECTOR)
    products = multiplyAdd(v128.load(at), v128.load(dpAt), products);
  const sum = f32x4.splat(sumOfLanes(products));
  const factor = f32x4.splat(scale);
  for (let at = p, dpAt = dp; at < end; at += VECTOR, dpAt += VECTOR)
    v128.store(dpAt, f32x4.mul(f32x4.mul(v128.load(at), factor), f32x4.sub(v128.load(dpAt), sum)));
}
