import { pad, reshape, slice, zeros, type Tensor } from '@tensorflow/tfjs-core';
import { elementCount } from '../../params.js';

/**
 * Writes `dy` to every `stride`-th element, from `begin`, of an axis of `size` zeros: the transpose of reading these
 * elements.
 */
export function spreadAlong(dy: Tensor, axis: number, begin: number, stride: number, size: number): Tensor {
  const shape = dy.shape.map((n, i) => (i === axis ? size : n));
  if (dy.size === 0) return zeros(shape);
  if (stride === 1 && begin === 0 && dy.shape[axis] === size) return dy;
  const [count, inner] = [dy.shape[axis]!, elementCount(dy.shape.slice(axis + 1))];
  const none: [number, number] = [0, 0];
  const spread = pad(reshape(dy, [-1, count, 1, inner]), [none, none, [0, stride - 1], none]);
  const length = Math.min(count * stride, size - begin);
  const cut = slice(reshape(spread, [-1, count * stride, inner]), [0, 0, 0], [-1, length, inner]);
  return reshape(pad(cut, [none, [begin, size - begin - length], none]), shape);
}
