import { reshape, sum, type Tensor } from '@tensorflow/tfjs-core';
import { replaceGradient } from '../registry/replace-gradient.js';
import { elementCount } from '../../params.js';

/**
 * The gradient of tf.tile, and of tf.broadcastTo, at any rank: copies are summed. (tfjs stops at rank 4, and adds copy
 * by copy.)
 */
export const correctTile = () =>
  replaceGradient<{ reps: number[] }>('Tile', (dy, [x], { reps }) => ({ x: () => gradient(dy, x!.shape, reps) }));

function gradient(dy: Tensor, shape: number[], reps: number[]): Tensor {
  const summed = reps.reduce((copies, rep, axis) => {
    if (rep === 1) return copies;
    const [before, after] = [elementCount(shape.slice(0, axis)), elementCount(dy.shape.slice(axis + 1))];
    return sum(reshape(copies, [before, rep, shape[axis]! * after]), 1);
  }, dy);
  return reshape(summed, shape);
}
