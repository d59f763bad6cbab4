import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { CpuBackend } from '../../registry/cpu-backend.js';
import { wrapKernel } from '../../registry/wrap-kernel.js';

/**
 * Computes the softmax over the last axis on cpu in two passes over the values, with the same results bit by bit. tfjs
 * subtracts and divides by broadcasting, which allocates arrays of coordinates for every element.
 */
export function computeSoftmaxOnCpu(): void {
  wrapKernel('Softmax', 'cpu', ({ inputs, backend }) => {
    const { dataId, shape, dtype } = inputs['logits'] as TensorInfo;
    const cpu = backend as CpuBackend;
    return cpu.makeTensorInfo(shape, dtype, softmax(cpu.data.get(dataId).values, shape.at(-1) ?? 1));
  });
}

function softmax(logits: Float32Array, length: number): Float32Array {
  const result = new Float32Array(logits.length);
  for (let start = 0; start < logits.length; start += length) {
    let largest = -Infinity;
    for (let i = start; i < start + length; i++) largest = Math.max(largest, logits[i]!);
    let sum = 0;
    for (let i = start; i < start + length; i++) {
      result[i] = Math.exp(Math.fround(logits[i]! - largest));
      sum += result[i]!;
    }
    const total = Math.fround(sum);
    for (let i = start; i < start + length; i++) result[i] = result[i]! / total;
  }
  return result;
}
