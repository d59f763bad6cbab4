import { memory } from '@tensorflow/tfjs-core';
import { disposeTensors } from '../dispose-tensors.js';

/**
 * Runs `fn` and disposes the tensors in what it returns.
 * @returns what `fn` returned
 * @throws if there are now more or fewer tensors than before
 */
export async function expectNoLeaks<T>(fn: () => T | Promise<T>): Promise<T> {
  const before = memory().numTensors;
  const result = await fn();
  disposeTensors(result);
  const after = memory().numTensors;
  if (after !== before)
    throw new Error(
      `expectNoLeaks: number of tensors got ${after}, expected ${before} as before. ${after > before ? 'Wrap the work in tidy, or dispose what it made.' : 'It disposed tensors that it did not make.'}`,
    );
  return result;
}
