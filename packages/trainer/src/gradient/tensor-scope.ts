import { disposeTensors } from '@alignprop/autograd-ext';

/**
 * Owns the tensors of an asynchronous computation and frees them together, as `tf.tidy` does for synchronous ones. It
 * also owns objects with a `dispose` method.
 */
export class TensorScope {
  #owned: unknown[] = [];

  /** Takes a tensor, a container of tensors or an object with a `dispose` method, and returns it. */
  own<T>(value: T): T {
    this.#owned.push(value);
    return value;
  }

  /** Frees everything, the newest first. The scope can be used again. */
  dispose(): void {
    const owned = this.#owned.reverse();
    this.#owned = [];
    for (const value of owned) {
      if (isDisposable(value)) value.dispose();
      else disposeTensors(value);
    }
  }
}

/** Returns a value once it has passed a check; frees its tensors if the check throws. */
export async function checked<T>(value: T, check: (value: T) => Promise<void>): Promise<T> {
  try {
    await check(value);
    return value;
  } catch (error) {
    disposeTensors(value);
    throw error;
  }
}

const isDisposable = (value: unknown): value is { dispose(): void } =>
  typeof (value as Partial<{ dispose(): void }> | undefined)?.dispose === 'function';
