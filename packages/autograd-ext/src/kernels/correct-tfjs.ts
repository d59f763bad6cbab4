import { avgPoolGradKernel } from './avg-pool-grad.js';
import { addComparisonGradients } from './comparison-grads.js';
import { addConvBackpropOnWasm } from './conv-backprop-wasm.js';
import { replaceByHostKernel } from './correct-gradient.js';
import { correctKernels } from './correct-kernels.js';
import { addDepthToSpaceGradient } from './depth-to-space-grad.js';
import { addEinsum } from './einsum.js';
import { maxPoolGradKernel } from './max-pool-grad.js';
import { correctMirrorPad } from './mirror-pad-grad.js';
import { correctProd } from './prod-grad.js';
import { resizeBilinearGradKernel } from './resize-bilinear-grad.js';
import { resizeNearestNeighborGradKernel } from './resize-nearest-neighbor-grad.js';
import { addStridedSliceGradient } from './strided-slice-grad.js';
import { addTopKGradient } from './topk-grad.js';

/** Replaces the gradients of tfjs-core 4.22 that are wrong, and adds gradients and kernels that it lacks. Needs its own to be registered. */
export function correctTfjs(): void {
  replaceByHostKernel('MaxPool', 'x', ['x'], maxPoolGradKernel);
  replaceByHostKernel('AvgPool', 'x', ['x'], avgPoolGradKernel);
  replaceByHostKernel('ResizeNearestNeighbor', 'images', ['images'], resizeNearestNeighborGradKernel);
  replaceByHostKernel('ResizeBilinear', 'images', ['images'], resizeBilinearGradKernel);
  correctMirrorPad();
  correctProd();
  addComparisonGradients();
  addStridedSliceGradient();
  addDepthToSpaceGradient();
  addTopKGradient();
  addEinsum();
  addConvBackpropOnWasm();
  correctKernels();
}
