import type { DoraAxis } from './dora.js';

/** The lengths of a weight's rows or columns. */
export interface WeightLengths {
  /** `[out]` or `[in]`. */
  readonly lengths: Float64Array;
  /** Returns the row or column of the element at a position in row-major order. */
  indexOf(position: number): number;
}

/** Returns the lengths of a weight, `[out, in]` or `[out, in, kh, kw]`, over all axes but one. */
export function lengthsOf(weight: ArrayLike<number>, shape: readonly number[], axis: DoraAxis): WeightLengths {
  const [out, inputs = 1] = shape as [number, number?];
  const kernel = weight.length / (out * inputs);
  const indexOf = (i: number) =>
    axis === 'output' ? Math.floor(i / (inputs * kernel)) : Math.floor(i / kernel) % inputs;
  const lengths = new Float64Array(axis === 'output' ? out : inputs);
  for (let i = 0; i < weight.length; i++) lengths[indexOf(i)]! += weight[i]! ** 2;
  return { lengths: lengths.map(Math.sqrt), indexOf };
}
