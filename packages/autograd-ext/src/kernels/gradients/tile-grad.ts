import { reshape, sum, type Tensor } from '@tensorflow/tfjs-core';
import { replaceGradient } from '../registry/replace-gradient.js';
import { elementCount } from '../../params.js';

/**
 * Corrects the gradient of tf.tile, and so of tf.broadcastTo: sums over the copies, at any rank. (tfjs's throws above
 * rank 4, and adds copy by copy.)
 */
export const correctTile = () =>
  replaceGradient<{ reps: number[] }>('Tile', (dy, [x], { reps }) => ({ x: () => gradient(dy, x!.shape, reps) }));

function gradient(dy: Tensor, shape: number[], reps: number[]): Tensor {
  const summed = reps.reduce((partial, rep, axis) => {
    if (rep === 1) return partial;
    const [before, after] = [elementCount(shape.slice(0, axis)), elementCount(dy.shape.slice(axis + 1))];
    return sum(reshape(partial, [before, rep, shape[axis]! * after]), 1);
  }, dy);
  return reshape(summed, shape);
}
