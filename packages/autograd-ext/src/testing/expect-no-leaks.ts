import { memory } from '@tensorflow/tfjs-core';
import { disposeTensors } from '../dispose-tensors.js';

/**
 * Runs `fn`, disposes the tensors in its result, and checks that the number of tensors is the same as before.
 * @returns the result of `fn`
 * @throws if the number of tensors changed
 */
export async function expectNoLeaks<T>(fn: () => T | Promise<T>): Promise<T> {
  const before = memory().numTensors;
  const result = await fn();
  disposeTensors(result);
  const after = memory().numTensors;
  if (after === before) return result;
  const advice =
    after > before
      ? 'Wrap the work in tidy, or dispose the tensors it creates.'
      : 'It disposed tensors that it did not make.';
  throw new Error(`expectNoLeaks: number of tensors got ${after}, expected ${before} as before. ${advice}`);
}
