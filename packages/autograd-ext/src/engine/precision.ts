/**
 * Number formats for matrix products and convolutions. Sums, norms, softmax, and the inputs and outputs of a function
 * are float32 in either case.
 */
export const precisions = ['float32', 'float16'] as const;
export type Precision = (typeof precisions)[number];
