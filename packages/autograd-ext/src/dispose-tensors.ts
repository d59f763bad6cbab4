import { dispose } from '@tensorflow/tfjs-core';

/**
 * Disposes every tensor inside a value: objects and arrays of tensors, at any depth. Ignores everything else. Does the
 * same as `tf.dispose`, whose parameter type excludes interfaces.
 */
export const disposeTensors = (container: unknown): void => dispose(container as never);
