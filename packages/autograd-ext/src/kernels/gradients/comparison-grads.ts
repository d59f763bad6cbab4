import { registerGradient, zeros, type Tensor } from '@tensorflow/tfjs-core';

const comparisons = ['Equal', 'NotEqual', 'Greater', 'Less', 'LessEqual', 'LogicalAnd', 'LogicalOr'];

/**
 * Comparisons are constant almost everywhere: gradients of zeros, where tfjs refuses to differentiate through a mask.
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
