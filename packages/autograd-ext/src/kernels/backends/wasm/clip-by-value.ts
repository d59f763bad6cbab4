import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { WasmBackend } from '../../registry/wasm-backend.js';
import { wrapKernel } from '../../registry/wrap-kernel.js';

/**
 * Makes tf.clipByValue on wasm keep NaN, as every other backend does. tfjs replaces NaN by the minimum there, which
 * hides that a model has diverged.
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
    clipped[i] = value < min ? min : value > max ? max : value; // comparisons with NaN are false
  }
}
