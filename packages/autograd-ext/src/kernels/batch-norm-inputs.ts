import { engine, ones, zeros, type Tensor } from '@tensorflow/tfjs-core';
import { wrapKernel } from './wrap-kernel.js';

/**
 * Gives tf.batchNorm, while it is being recorded, the scale and offset that were left out: tfjs cannot save or
 * differentiate an input that is not there.
 */
export function completeBatchNormInputs(): void {
  for (const backend of ['wasm', 'cpu']) {
    wrapKernel('FusedBatchNorm', backend, (call, original) => {
      const inputs = call.inputs as Record<string, Tensor>;
      if (engine().state.gradientDepth > 0) {
        inputs['scale'] ??= ones(inputs['mean']!.shape); // in the object that the tape refers to
        inputs['offset'] ??= zeros(inputs['mean']!.shape);
      }
      return original(call);
    });
  }
}
