import { computeSoftmaxOnCpu } from './cpu/softmax.js';
import { correctStridedSlice } from './strided-slice.js';
import { correctArgumentsOnTensorflow } from './tensorflow/arguments.js';
import { convolveOnTensorflow } from './tensorflow/convolutions.js';
import { addKernelsOnTensorflow } from './tensorflow/missing.js';
import { multiplyOnTensorflow } from './tensorflow/mat-mul.js';
import { padPoolsOnTensorflow } from './tensorflow/pools.js';
import { resizeGradientsOnTensorflow } from './tensorflow/resize.js';
import { keepNaNWhenClippingOnWasm } from './wasm/clip-by-value.js';
import { convolveInputGradientOnWasm } from './wasm/conv-backprop.js';
import { fillEmptyReductionsOnWasm } from './wasm/empty-reductions.js';
import { correctBatchedGatherOnWasm } from './wasm/gather.js';
import { shareClonesOnWasm } from './wasm/identity.js';
import { makePaddingExplicitOnWasm } from './wasm/padding.js';

/** Corrects the kernels of the backends that are loaded. Call it again after loading another backend. */
export function correctKernels(): void {
  shareClonesOnWasm();
  makePaddingExplicitOnWasm();
  keepNaNWhenClippingOnWasm();
  fillEmptyReductionsOnWasm();
  computeSoftmaxOnCpu();
  correctStridedSlice();
  correctBatchedGatherOnWasm();
  convolveInputGradientOnWasm();
  convolveOnTensorflow();
  multiplyOnTensorflow();
  padPoolsOnTensorflow();
  resizeGradientsOnTensorflow();
  correctArgumentsOnTensorflow();
  addKernelsOnTensorflow();
}
