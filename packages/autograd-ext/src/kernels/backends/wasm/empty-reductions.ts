import { util, type TensorInfo } from '@tensorflow/tfjs-core';
import type { WasmBackend } from '../../registry/wasm-backend.js';
import { wrapKernel } from '../../registry/wrap-kernel.js';

/** Sums and other reductions of no values, as tfjs computes them on its cpu backend, with the input that is reduced. */
const emptyReductions = {
  Sum: ['x', 0],
  Mean: ['x', 0],
  Prod: ['x', 1],
  Max: ['x', NaN],
  Min: ['x', NaN],
  All: ['x', 0],
  Any: ['x', 0],
  BatchMatMul: ['a', 0],
} as const;

/** Makes reductions of empty tensors on wasm return defined values. tfjs returns memory there that it never wrote. */
export function fillEmptyReductionsOnWasm(): void {
  for (const [name, [input, value]] of Object.entries(emptyReductions)) {
    wrapKernel(name, 'wasm', (call, original) => {
      const reduced = original(call) as TensorInfo;
      if (util.sizeFromShape(call.inputs[input]!.shape) === 0)
        (call.backend as WasmBackend).typedArrayFromHeap(reduced).fill(value);
      return reduced;
    });
  }
}
