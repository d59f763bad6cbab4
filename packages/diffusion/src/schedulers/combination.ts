import { add, mul, type Tensor4D } from '@tensorflow/tfjs-core';

/** A tensor and its weight in a sum. */
export type Term = readonly [weight: number, value: Tensor4D];

/** Returns the weighted sum of tensors of one shape. */
export const combine = (terms: readonly Term[]): Tensor4D =>
  terms.map(([weight, value]) => mul<Tensor4D>(value, weight)).reduce((sum, term) => add(sum, term));
