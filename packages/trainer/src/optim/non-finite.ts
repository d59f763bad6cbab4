import type { Tensor } from '@tensorflow/tfjs-core';

/** A value that is NaN or infinite: training stops before any weight moves. */
export class NonFiniteError extends Error {
  override readonly name = 'NonFiniteError';
}

/** The first named tensor that holds a NaN or an infinity; undefined where all are finite. */
export async function firstNonFinite(
  named: Iterable<readonly [string, Tensor | undefined]>,
): Promise<string | undefined> {
  for (const [name, tensor] of named) {
    if (tensor && !(await tensor.data()).every((value) => Number.isFinite(value))) return name;
  }
  return undefined;
}
