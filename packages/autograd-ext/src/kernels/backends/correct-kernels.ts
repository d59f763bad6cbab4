import { computeSoftmaxOnCpu } from './cpu/softmax.js';
import { correctPools } from './pools.js';
import { addResizeGradientsOnGpu } from './resize-gradients.js';
import { correctStridedSlice } from './strided-slice.js';
import { correctArgumentsOnTensorflow } from './tensorflow/arguments.js';
import { convolveOnTensorflow } from './tensorflow/convolutions.js';
import { addKernelsOnTensorflow } from './tensorflow/missing.js';
import { multiplyOnTensorflow } from './tensorflow/mat-mul.js';
import { resizeGradientsOnTensorflow } from './tensorflow/resize.js';
import { keepNaNWhenClippingOnWasm } from './wasm/clip-by-value.js';
import { convolveInputGradientOnWasm } from './wasm/conv-backprop.js';
import { fillEmptyReductionsOnWasm } from './wasm/empty-reductions.js';
import { correctBatchedGatherOnWasm } from './wasm/gather.js';
import { shareClonesOnWasm } from './wasm/identity.js';
import { makePaddingExplicitOnWasm } from './wasm/padding.js';
import { addInGroupsOnWebGPU } from './webgpu/add-n.js';
import { findFirstOnWebGPU } from './webgpu/arg-max.js';
import { cumulateOnWebGPU } from './webgpu/cumulative.js';
import { reduceOnWebGPU } from './webgpu/reductions.js';
import { transposeIntegersOnWebGPU } from './webgpu/transpose.js';

/** Corrects the kernels of the backends that are loaded. Call it again after loading another backend. */
export function correctKernels(): void {
  shareClonesOnWasm();
  makePaddingExplicitOnWasm();
  keepNaNWhenClippingOnWasm();
  fillEmptyReductionsOnWasm();
  computeSoftmaxOnCpu();
  correctStridedSlice();
  correctPools();
  addResizeGradientsOnGpu();
  correctBatchedGatherOnWasm();
  convolveInputGradientOnWasm();
  convolveOnTensorflow();
  multiplyOnTensorflow();
  resizeGradientsOnTensorflow();
  correctArgumentsOnTensorflow();
  addKernelsOnTensorflow();
  addInGroupsOnWebGPU();
  findFirstOnWebGPU();
  cumulateOnWebGPU();
  reduceOnWebGPU();
  transposeIntegersOnWebGPU();
}
