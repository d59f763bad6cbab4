import { backend_util, reshape, sum, type Tensor } from '@tensorflow/tfjs-core';
import { replaceGradient } from '../registry/replace-gradient.js';

/**
 * Sums gradients over the axes along which an operand was repeated, where tfjs hands them on in the shape of the
 * result.
 */
export function reduceBroadcastGradients(): void {
  for (const kernel of ['Maximum', 'Minimum', 'SquaredDifference', 'BatchMatMul']) {
    replaceGradient(kernel, (_dy, [a, b], _attrs, original) => {
      const { a: byA, b: byB } = original() as { a: () => Tensor; b: () => Tensor };
      return { a: () => reduced(byA(), a!.shape), b: () => reduced(byB(), b!.shape) };
    });
  }
}

function reduced(gradient: Tensor, shape: number[]): Tensor {
  const axes = backend_util.getReductionAxes(shape, gradient.shape);
  return axes.length === 0 ? gradient : reshape(sum(gradient, axes), shape);
}
