import type { profile } from '@tensorflow/tfjs-core';

type KernelRecord = Awaited<ReturnType<typeof profile>>['kernels'][number];

/** Kernels whose result shares memory with their input in tfjs, although tfjs counts it as additional bytes. */
const sharing = new Set(['Reshape', 'Identity', 'ExpandDims']);

/**
 * The peak memory of a profiled function on tfjs, in bytes, without what existed before. The profile says only how much
 * each kernel freed, not which tensors: this assumes LIFO frees, as tf.tidy does it.
 * @param before bytes that tfjs counted before the first kernel
 */
export function peakOfKernels(kernels: readonly KernelRecord[], before: number): number {
  const stack: { bytes: number; readonly isShared: boolean }[] = [];
  let [counted, live, peak] = [before, 0, 0];
  for (const { name, bytesAdded, totalBytesSnapshot } of kernels) {
    for (let freed = counted + bytesAdded - totalBytesSnapshot; freed > 0 && stack.length > 0;) {
      const last = stack.at(-1)!;
      const part = Math.min(freed, last.bytes);
      last.bytes -= part;
      freed -= part;
      if (!last.isShared) live -= part;
      if (last.bytes === 0) stack.pop();
    }
    stack.push({ bytes: bytesAdded, isShared: sharing.has(name) });
    if (!sharing.has(name)) live += bytesAdded;
    counted = totalBytesSnapshot;
    peak = Math.max(peak, live);
  }
  return peak;
}

/** The number of copies of a frozen weight in tfjs's memory: the weight and the layouts that kernels make of it. */
export const layoutsOf = (shape: readonly number[]): number => (shape.length === 4 ? 3 : shape.length === 2 ? 2 : 1);
