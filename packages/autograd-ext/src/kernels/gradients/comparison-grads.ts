import { registerGradient, zeros, type Tensor } from '@tensorflow/tfjs-core';

/** Comparisons and logic of two inputs for which tfjs registers no gradient. */
export const comparisons = ['Equal', 'NotEqual', 'Greater', 'Less', 'LessEqual', 'LogicalAnd', 'LogicalOr'];

/**
 * Adds gradients of zeros to comparisons, which are constant almost everywhere. (tfjs throws when a differentiated
 * function contains one.)
 */
export function addComparisonGradients(): void {
  for (const kernelName of comparisons) {
    registerGradient({
      kernelName,
      inputsToSave: ['a', 'b'],
      gradFunc: (_, [a, b]) => ({ a: () => zeros(a!.shape), b: () => zeros(b!.shape) }),
    });
  }
  registerGradient({
    kernelName: 'LogicalNot',
    inputsToSave: ['x'],
    gradFunc: (_, [x]) => ({ x: () => zeros((x as Tensor).shape) }),
  });
}
