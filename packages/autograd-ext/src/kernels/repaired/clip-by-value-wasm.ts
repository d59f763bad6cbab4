import type { KernelBackend, TensorInfo } from '@tensorflow/tfjs-core';
import { wrapKernel } from './wrap-kernel.js';

type WasmBackend = KernelBackend & {
  makeOutput(shape: readonly number[], dtype: string): TensorInfo;
  typedArrayFromHeap(tensor: TensorInfo): Float32Array | Int32Array;
};

/**
 * Lets NaN through clipping, as every other backend does: on wasm tfjs makes it the minimum, which hides that a model
 * went wrong.
 */
export const keepNaNWhenClippingOnWasm = () =>
  wrapKernel('ClipByValue', 'wasm', ({ inputs, attrs, backend }) => {
    const { x } = inputs as { x: TensorInfo };
    const { clipValueMin, clipValueMax } = attrs as unknown as { clipValueMin: number; clipValueMax: number };
    const wasm = backend as WasmBackend;
    const output = wasm.makeOutput(x.shape, x.dtype);
    clip(wasm.typedArrayFromHeap(x), wasm.typedArrayFromHeap(output), clipValueMin, clipValueMax);
    return output;
  });

function clip(values: Float32Array | Int32Array, clipped: Float32Array | Int32Array, min: number, max: number): void {
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    clipped[i] = value < min ? min : value > max ? max : value;
  }
}
