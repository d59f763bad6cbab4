import { getKernel, registerKernel, tidy, type NamedAttrMap, type Tensor } from '@tensorflow/tfjs-core';

/** Adds a kernel to a backend, made of other ops. Does nothing if the backend has it. */
export function addKernel<A extends object = NamedAttrMap>(
  kernelName: string,
  backendName: string,
  compute: (inputs: Readonly<Record<string, Tensor | undefined>>, attrs: A) => Tensor,
): void {
  if (getKernel(kernelName, backendName)) return;
  registerKernel({
    kernelName,
    backendName,
    kernelFunc: ({ inputs, attrs }) => tidy(() => compute(inputs as never, (attrs ?? {}) as unknown as A)),
  });
}
