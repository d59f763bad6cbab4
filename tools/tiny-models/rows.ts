import { tensor, type Tensor } from '@tensorflow/tfjs-core';

/** Stacks rows of a shape to a batch, `[B, …shape]`. */
export function stacked<T extends Tensor>(rows: readonly Float32Array[], shape: readonly number[]): T {
  const values = new Float32Array(rows.length * rows[0]!.length);
  rows.forEach((row, i) => values.set(row, i * row.length));
  return tensor(values, [rows.length, ...shape]) as T;
}

/** Reads the members of a batch. */
export async function rowsOf(batch: Tensor): Promise<readonly Float32Array[]> {
  const values = await batch.data<'float32'>();
  const size = values.length / batch.shape[0]!;
  return Array.from({ length: batch.shape[0]! }, (_, i) => values.slice(i * size, (i + 1) * size));
}
