import { excerpt } from '@alignprop/autograd-ext/outside';
import type { StoredTensor } from '@alignprop/autograd-ext';

/**
 * Checks every value of a file, one tensor at a time: an adapter whose training diverged gives black images.
 * @throws an error that names the first key with a value that is no finite number
 */
export async function checkFinite(tensors: ReadonlyMap<string, StoredTensor>, location: string): Promise<void> {
  for (const [key, tensor] of tensors) {
    const values = await tensor.read();
    const at = values.findIndex((value) => !Number.isFinite(value));
    if (at >= 0)
      throw new Error(
        `loadLora: ${location}: ${excerpt(key)} has the value ${values[at]}, expected finite numbers. ` +
          'Its training diverged: use an earlier checkpoint of it.',
      );
  }
}
