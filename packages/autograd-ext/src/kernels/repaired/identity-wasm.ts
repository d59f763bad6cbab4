import type { KernelBackend, TensorInfo } from '@tensorflow/tfjs-core';
import { wrapKernel } from './wrap-kernel.js';

/**
 * Makes clones on wasm share memory, as on every other backend: tfjs copies there, hence every tensor that a gradient
 * saves, frozen weights included, and a copy has lost the layouts kept for it.
 */
export const shareClonesOnWasm = () =>
  wrapKernel('Identity', 'wasm', (call, original) => {
    const x = call.inputs['x'] as TensorInfo;
    if (x.dtype === 'string') return original(call);
    (call.backend as KernelBackend).incRef(x.dataId);
    return { dataId: x.dataId, shape: x.shape, dtype: x.dtype };
  });
