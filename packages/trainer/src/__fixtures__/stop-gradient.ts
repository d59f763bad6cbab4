import { add, customGrad, zerosLike, type Tensor } from '@tensorflow/tfjs-core';

/**
 * torch's `detach`, for the reference graphs of tests. Adds 0 instead of cloning, because tfjs records a `clone` on the
 * tape even inside a custom gradient.
 */
export const stopGradient = <T extends Tensor>(x: T): T =>
  customGrad((input) => ({ value: add(input as Tensor, 0), gradFunc: (dy: Tensor) => zerosLike(dy) }))(x) as T;
