import { getKernel, registerKernel, unregisterKernel, type KernelFunc } from '@tensorflow/tfjs-core';
import { sharedSet } from './shared-set.js';

type Call = Parameters<KernelFunc>[0];
const wrappers = sharedSet('kernels');

/** Wraps a kernel of tfjs. Does nothing if the backend is not loaded yet, or the kernel is already wrapped. */
export function wrapKernel(
  kernelName: string,
  backendName: string,
  wrap: (call: Call, original: KernelFunc) => ReturnType<KernelFunc>,
): void {
  const kernel = getKernel(kernelName, backendName);
  if (!kernel || wrappers.has(kernel)) return;
  const wrapper = { ...kernel, kernelFunc: (call: Call) => wrap(call, kernel.kernelFunc) };
  unregisterKernel(kernelName, backendName);
  registerKernel(wrapper);
  wrappers.add(wrapper);
}
