import { backend_util, reshape, sum, type Tensor } from '@tensorflow/tfjs-core';
import { replaceGradient } from '../registry/replace-gradient.js';

/** Sums the gradients of these ops over broadcast axes. (tfjs returns them in the shape of the result.) */
export function reduceBroadcastGradients(): void {
  for (const kernel of ['Maximum', 'Minimum', 'SquaredDifference', 'BatchMatMul']) {
    replaceGradient(kernel, (_dy, [a, b], _attrs, original) => {
      const { a: gradA, b: gradB } = original() as { a: () => Tensor; b: () => Tensor };
      return { a: () => sumToShape(gradA(), a!.shape), b: () => sumToShape(gradB(), b!.shape) };
    });
  }
}

function sumToShape(gradient: Tensor, shape: number[]): Tensor {
  const axes = backend_util.getReductionAxes(shape, gradient.shape);
  return axes.length === 0 ? gradient : reshape(sum(gradient, axes), shape);
}
