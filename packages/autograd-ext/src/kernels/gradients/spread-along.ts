import { pad, reshape, slice, zeros, type Tensor } from '@tensorflow/tfjs-core';
import { elementCount } from '../../params.js';

/**
 * The transpose of reading every `stride`-th element of an axis: `dy` at these places, from `begin`, of an axis of
 * `size` zeros.
 */
export function spreadAlong(dy: Tensor, axis: number, begin: number, stride: number, size: number): Tensor {
  const shape = dy.shape.map((n, i) => (i === axis ? size : n));
  if (dy.size === 0) return zeros(shape);
  if (stride === 1 && begin === 0 && dy.shape[axis] === size) return dy;
  const [count, inner] = [dy.shape[axis]!, elementCount(dy.shape.slice(axis + 1))];
  const apart = pad(reshape(dy, [-1, count, 1, inner]), [
    [0, 0],
    [0, 0],
    [0, stride - 1],
    [0, 0],
  ]);
  const room = Math.min(count * stride, size - begin);
  const fitting = slice(reshape(apart, [-1, count * stride, inner]), [0, 0, 0], [-1, room, inner]);
  return reshape(
    pad(fitting, [
      [0, 0],
      [begin, size - begin - room],
      [0, 0],
    ]),
    shape,
  );
}
