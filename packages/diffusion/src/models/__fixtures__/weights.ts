import { randomNormal } from '@tensorflow/tfjs-core';
import { elementCount, type Params } from '@alignprop/autograd-ext';
import { directory, initParams, openSafetensors, type ParamsSpec } from '@alignprop/autograd-ext/weights';

/** Normally distributed weights; the same seed gives the same weights. */
export function randomParams(spec: ParamsSpec, { mean = 0, deviation = 0.5, seed = 0 } = {}): Params {
  let draws = seed;
  return initParams(spec, (_, shape) => randomNormal([...shape], mean, deviation, 'float32', ++draws));
}

/** Number of elements of each weight that a spec requires, by name. */
export function weightSizes(spec: ParamsSpec): Record<string, number> {
  const sizes: Record<string, number> = {};
  initParams(spec, (path, shape) => {
    sizes[path] = elementCount(shape);
    return { shape, dtype: 'F32', read: () => Promise.reject(new Error('not read')) };
  });
  return sizes;
}

/** Number of parameters of a model with this spec. */
export const parameterCount = (spec: ParamsSpec): number =>
  Object.values(weightSizes(spec)).reduce((sum, size) => sum + size, 0);

/** Reads a safetensors file to entries that `encodeSafetensors` writes again. */
export async function readEntries(folder: string, file: string) {
  const { tensors } = await openSafetensors(directory(folder), file);
  return Promise.all(
    [...tensors].map(
      async ([name, { shape, read }]) =>
        [name, { dtype: 'F32' as const, shape, data: (await read()) as Float32Array }] as const,
    ),
  );
}
