import { correctStridedSlice } from './strided-slice.js';
import { keepNaNWhenClippingOnWasm } from './wasm/clip-by-value.js';
import { convolveInputGradientOnWasm } from './wasm/conv-backprop.js';
import { correctBatchedGatherOnWasm } from './wasm/gather.js';
import { shareClonesOnWasm } from './wasm/identity.js';
import { makePaddingExplicitOnWasm } from './wasm/padding.js';

/** Corrects the kernels of the backends that are loaded. Call it again after loading another backend. */
export function correctKernels(): void {
  shareClonesOnWasm();
  makePaddingExplicitOnWasm();
  keepNaNWhenClippingOnWasm();
  correctStridedSlice();
  correctBatchedGatherOnWasm();
  convolveInputGradientOnWasm();
}
