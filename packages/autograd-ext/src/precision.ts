/**
 * Number formats for matrix products and convolutions. Sums, norms, softmax, and the inputs and outputs of a function
 * are float32 in every case. bfloat16 has the range of float32 and 8 bits of precision.
 */
export const precisions = ['float32', 'float16', 'bfloat16'] as const;
export type Precision = (typeof precisions)[number];

let current: Precision = 'float32';

/** The format in which kernels compute products at this moment. Only the `tensorflow` backend has more than one. */
export const productPrecision = (): Precision => current;

/** Runs a synchronous function, whose products are computed in the given format. */
export function withProductPrecision<T>(precision: Precision, fn: () => T): T {
  const outer = current;
  current = precision;
  try {
    return fn();
  } finally {
    current = outer;
  }
}
