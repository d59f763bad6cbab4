import { getKernel, registerKernel, unregisterKernel, type KernelBackend, type TensorInfo } from '@tensorflow/tfjs-core';

const replaced = new WeakSet<object>();

/**
 * Makes clones on wasm share memory, as on every other backend: tfjs copies there, hence every tensor that a gradient saves,
 * frozen weights included, and a copy has lost the layouts kept for it. Does nothing before the backend is loaded, or twice.
 */
export function shareClonesOnWasm(): void {
  const kernel = getKernel('Identity', 'wasm');
  if (!kernel || replaced.has(kernel)) return;
  const shared = {
    ...kernel,
    kernelFunc: (call: Parameters<typeof kernel.kernelFunc>[0]): TensorInfo | TensorInfo[] => {
      const x = call.inputs['x'] as TensorInfo;
      if (x.dtype === 'string') return kernel.kernelFunc(call);
      (call.backend as KernelBackend).incRef(x.dataId);
      return { dataId: x.dataId, shape: x.shape, dtype: x.dtype };
    },
  };
  unregisterKernel('Identity', 'wasm');
  registerKernel(shared);
  replaced.add(shared);
}
