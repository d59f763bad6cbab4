import type { Tensor } from '@tensorflow/tfjs-core';

/** Thrown for a value that is NaN or infinite, before any weight moves. */
export class NonFiniteError extends Error {
  override readonly name = 'NonFiniteError';
}

/** The name of the first tensor that holds a NaN or an infinity; undefined if all are finite. */
export async function firstNonFinite(
  named: Iterable<readonly [string, Tensor | undefined]>,
): Promise<string | undefined> {
  for (const [name, tensor] of named) {
    if (tensor && !(await tensor.data()).every((value) => Number.isFinite(value))) return name;
  }
  return undefined;
}
