import { tensor, tidy, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import { record } from '@alignprop/autograd-ext/outside';
import type { Gradients } from '../optim/gradients.js';
import type { Collective } from './collective.js';

/** Elements per bucket, 16 MiB. */
const bucketSize = 2 ** 22;

/**
 * Averages gradients over all ranks, bit for bit the same on each. Names and shapes are the same on all ranks. Disposes
 * the given gradients, or returns them where there is a single rank.
 */
export async function meanOfGradients(collective: Collective, gradients: Gradients): Promise<Gradients> {
  if (collective.size === 1) return gradients;
  const means = record<Tensor>();
  const average = async (values: Float32Array): Promise<void> => {
    await collective.sum(values);
    for (let i = 0; i < values.length; i++) values[i]! /= collective.size;
  };
  await inBuckets(gradients, average, (path, values, { shape }) => {
    means[path] = tensor(values, shape, 'float32');
    gradients[path]!.dispose();
  });
  return Object.fromEntries(Object.keys(gradients).map((path) => [path, means[path]!]));
}

/** Assigns to variables the values that they have on rank 0. */
export async function broadcastVariables(
  collective: Collective,
  variables: Readonly<Record<string, Variable>>,
): Promise<void> {
  if (collective.size === 1) return;
  await inBuckets(
    variables,
    (values) => collective.broadcast(values),
    (path, values, { shape }) => {
      if (collective.rank > 0) tidy(() => variables[path]!.assign(tensor(values, shape, 'float32')));
    },
  );
}

/** Runs a collective call on buckets of many tensors: a call for each small matrix would cost more than its data. */
async function inBuckets<T extends Tensor>(
  tensors: Readonly<Record<string, T>>,
  run: (values: Float32Array) => Promise<void>,
  assign: (path: string, values: Float32Array, tensor: T) => void,
): Promise<void> {
  for (const bucket of bucketsOf(tensors)) {
    const values = new Float32Array(bucket.reduce((sum, [, { size }]) => sum + size, 0));
    let end = 0;
    const parts: Float32Array[] = [];
    for (const [, value] of bucket) {
      const part = values.subarray(end, (end += value.size));
      part.set(await value.data<'float32'>());
      parts.push(part);
    }
    await run(values);
    for (const [i, [path, value]] of bucket.entries()) assign(path, parts[i]!.slice(), value);
  }
}

/** Fills buckets in the order of the tensors' names, which is the same on all ranks. */
function bucketsOf<T extends Tensor>(tensors: Readonly<Record<string, T>>): readonly (readonly [path: string, T])[][] {
  const buckets: [string, T][][] = [];
  let room = 0;
  for (const path of Object.keys(tensors).sort()) {
    const value = tensors[path]!;
    if (value.size > room) {
      buckets.push([]);
      room = Math.max(bucketSize, value.size);
    }
    buckets.at(-1)!.push([path, value]);
    room -= value.size;
  }
  return buckets;
}
