import type { KernelBackend, TensorInfo } from '@tensorflow/tfjs-core';
import { wrapKernel } from '../../registry/wrap-kernel.js';

/**
 * Makes tf.clone on wasm share memory, as on every other backend. tfjs copies the values there, and so copies every
 * tensor that a gradient saves, frozen weights included; a copy also loses the packed layouts of a frozen weight.
 */
export const shareClonesOnWasm = () =>
  wrapKernel('Identity', 'wasm', (call, original) => {
    const x = call.inputs['x'] as TensorInfo;
    if (x.dtype === 'string') return original(call);
    (call.backend as KernelBackend).incRef(x.dataId);
    return { dataId: x.dataId, shape: x.shape, dtype: x.dtype };
  });
