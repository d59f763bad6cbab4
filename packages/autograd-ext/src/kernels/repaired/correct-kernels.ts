import { completeBatchNormInputs } from './batch-norm.js';
import { keepNaNWhenClippingOnWasm } from './clip-by-value-wasm.js';
import { convolveInputGradientOnWasm } from './conv-backprop-wasm.js';
import { gatherInBatchesOnWasm } from './gather.js';
import { shareClonesOnWasm } from './identity-wasm.js';
import { statePaddingOnWasm } from './padding-wasm.js';
import { correctStridedSlice } from './strided-slice.js';

/** Corrects kernels of the backends that are loaded: to be called again after loading one. */
export function correctKernels(): void {
  shareClonesOnWasm();
  statePaddingOnWasm();
  keepNaNWhenClippingOnWasm();
  correctStridedSlice();
  gatherInBatchesOnWasm();
  convolveInputGradientOnWasm();
  completeBatchNormInputs();
}
