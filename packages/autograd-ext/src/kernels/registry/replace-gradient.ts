import {
  engine,
  getBackend,
  getGradient,
  getKernel,
  registerGradient,
  unregisterGradient,
  type NamedAttrMap,
  type Tensor,
} from '@tensorflow/tfjs-core';
import { registerHostKernel, type HostKernel } from './host-kernel.js';
import { sharedSet } from './shared-set.js';

type Thunks = Record<string, () => Tensor>;
const replacements = sharedSet('gradients');

/**
 * Replaces the gradient that tfjs registered for a kernel. Saves the same tensors for backward. Does nothing if the
 * gradient is already replaced.
 * @param gradient computes the new thunks; `original` returns tfjs's
 */
export function replaceGradient<A extends object>(
  kernelName: string,
  gradient: (dy: Tensor, saved: readonly Tensor[], attrs: A, original: () => Thunks) => Thunks,
): void {
  const original = getGradient(kernelName)!;
  if (replacements.has(original)) return;
  const replacement: typeof original = {
    ...original,
    gradFunc: (dy, saved, attrs) =>
      gradient(dy as Tensor, saved, attrs as unknown as A, () => original.gradFunc(dy, saved, attrs)),
  };
  unregisterGradient(kernelName);
  registerGradient(replacement);
  replacements.add(replacement);
}

/**
 * Replaces the gradient of a kernel with one input by a host kernel, on cpu and wasm; other backends that have a kernel
 * of its name use theirs, and the rest keeps tfjs's gradient. The host kernel's name must differ from tfjs's: a backend
 * that is loaded later would overwrite a kernel of the same name.
 * @param saved names under which the host kernel receives the tensors saved for backward, beside `dy`
 */
export function replaceByHostKernel<A extends object>(
  kernelName: string,
  input: string,
  saved: readonly string[],
  kernel: HostKernel<A>,
): void {
  if (!getKernel(kernel.name, 'cpu')) registerHostKernel(kernel);
  replaceGradient<A>(kernelName, (dy, tensors, attrs, original) => {
    if (!getKernel(kernel.name, getBackend())) return original();
    const inputs = Object.fromEntries([['dy', dy], ...saved.map((name, i) => [name, tensors[i]!] as const)]);
    return {
      [input]: () => engine().runKernel(kernel.name, inputs as never, attrs as unknown as NamedAttrMap) as Tensor,
    };
  });
}
