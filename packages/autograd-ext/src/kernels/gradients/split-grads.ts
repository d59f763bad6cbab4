import { concat, stack, type Tensor } from '@tensorflow/tfjs-core';
import { replaceGradient } from '../registry/replace-gradient.js';

/**
 * Corrects the gradients of tf.unstack and tf.split into a single part: tfjs expects a list of gradients, but its tape
 * passes a single tensor.
 */
export function correctSplits(): void {
  replaceGradient<{ axis: number }>('Unpack', (dy, _saved, { axis }) => ({ value: () => stack(parts(dy), axis) }));
  replaceGradient<{ axis: number }>('SplitV', (dy, _saved, { axis }) => ({ x: () => concat(parts(dy), axis) }));
}

const parts = (dy: Tensor | Tensor[]): Tensor[] => [dy].flat();
