import { concat, stack, type Tensor } from '@tensorflow/tfjs-core';
import { replaceGradient } from '../registry/replace-gradient.js';

/** The gradients of tf.unstack and tf.split into one part, whose gradient tfjs takes for a list. */
export function correctSplits(): void {
  replaceGradient<{ axis: number }>('Unpack', (dy, _saved, { axis }) => ({ value: () => stack(parts(dy), axis) }));
  replaceGradient<{ axis: number }>('SplitV', (dy, _saved, { axis }) => ({ x: () => concat(parts(dy), axis) }));
}

const parts = (dy: Tensor | Tensor[]): Tensor[] => [dy].flat();
