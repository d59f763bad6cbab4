import { util, type TensorInfo } from '@tensorflow/tfjs-core';
import type { WasmBackend } from '../../registry/wasm-backend.js';
import { wrapKernel } from '../../registry/wrap-kernel.js';

/** Reductions of no values, as tfjs computes them on its cpu backend. */
const emptyReductions = { Sum: 0, Mean: 0, Prod: 1, Max: NaN, Min: NaN, All: 0, Any: 0 };

/** Makes reductions of empty tensors on wasm return defined values. tfjs returns memory there that it never wrote. */
export function fillEmptyReductionsOnWasm(): void {
  for (const [name, value] of Object.entries(emptyReductions)) {
    wrapKernel(name, 'wasm', (call, original) => {
      const reduced = original(call) as TensorInfo;
      const { x } = call.inputs as { x: TensorInfo };
      if (util.sizeFromShape(x.shape) === 0) (call.backend as WasmBackend).typedArrayFromHeap(reduced).fill(value);
      return reduced;
    });
  }
}
