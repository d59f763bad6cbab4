import { dispose } from '@tensorflow/tfjs-core';

/**
 * Frees every tensor inside a value: records, arrays and interfaces of tensors at any depth. `tf.dispose` does the same
 * at run time, but its type admits no interface. Everything that is not a tensor is left alone.
 */
export const disposeTensors = (container: unknown): void => dispose(container as never);
