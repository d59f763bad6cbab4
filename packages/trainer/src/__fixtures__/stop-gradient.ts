import { add, customGrad, zerosLike, type Tensor } from '@tensorflow/tfjs-core';

/**
 * torch's `detach`, for graphs that tests compare with. Adds 0 because tfjs records a `clone` on the tape wherever it
 * is made.
 */
export const stopGradient = <T extends Tensor>(x: T): T =>
  customGrad((input) => ({ value: add(input as Tensor, 0), gradFunc: (dy: Tensor) => zerosLike(dy) }))(x) as T;
