import { importOptional, type Params } from '@alignprop/autograd-ext';
import { excerpt } from '@alignprop/autograd-ext/outside';
import type { Tensor } from '@tensorflow/tfjs-core';

/** A tfjs model as a pure function of its weights and its input. */
export interface FunctionalModel {
  /** The shape of the input; -1 where any size is possible. */
  readonly inputShape: readonly number[];
  /** The weights by their names in the manifest. */
  readonly params: Params;
  /** Computes the requested outputs. */
  run(params: Params, input: Tensor): Tensor[];
}

/** A requested output: its name, or its index among the model's outputs. */
export type Output = string | number;

/**
 * Opens a part of a model by tfjs, whose errors say little of the file.
 * @throws an error that names the model, with that of tfjs as its cause
 */
export async function opened<T>(location: string, open: () => T | Promise<T>): Promise<T> {
  try {
    return await open();
  } catch (cause) {
    const { name, message } = cause as Error;
    if (message.startsWith('graphModel: ')) throw cause;
    const why = name === 'TypeError' || name === 'RangeError' ? 'its parts do not fit together' : excerpt(message, 300);
    throw new Error(`graphModel: tfjs cannot open '${location}': ${why}. Save the model again with tfjs.`, { cause });
  }
}

/**
 * Imports a package of tfjs that users install themselves.
 * @throws if it is not installed; the message says how to install it
 */
export async function importTfjs<T>(load: () => Promise<T>, name: string, what: string): Promise<T> {
  return importOptional(name, load).catch((cause: unknown) => {
    throw new Error(`graphModel: ${what} needs a package: ${(cause as Error).message}.`, { cause });
  });
}
