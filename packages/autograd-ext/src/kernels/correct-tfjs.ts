import { correctKernels } from './backends/correct-kernels.js';
import { addConvBackpropOnWasm } from './backends/wasm/conv-backprop.js';
import { addEinsumOnWasm } from './backends/wasm/einsum.js';
import { addSegmentSumOnWasm } from './backends/wasm/segment-sum.js';
import { avgPoolGradKernel } from './gradients/avg-pool-grad.js';
import { completeBatchNormInputs, replaceBatchNormGradient } from './gradients/batch-norm-grad.js';
import { reduceBroadcastGradients } from './gradients/broadcast-grads.js';
import { addComparisonGradients } from './gradients/comparison-grads.js';
import { refuseComplexGradients } from './gradients/complex-grad.js';
import { addCropAndResizeGradient } from './gradients/crop-and-resize-grad.js';
import { correctCumsum } from './gradients/cumsum-grad.js';
import { addDepthToSpaceGradient } from './gradients/depth-to-space-grad.js';
import { addEinsumGradient } from './gradients/einsum-grad.js';
import { correctGatherGradient } from './gradients/gather-grad.js';
import { maxPoolGradKernel } from './gradients/max-pool-grad.js';
import { correctMirrorPad } from './gradients/mirror-pad-grad.js';
import { correctProd } from './gradients/prod-grad.js';
import { resizeBilinearGradKernel, resizeNearestNeighborGradKernel } from './gradients/resize-grads.js';
import { correctSplits } from './gradients/split-grads.js';
import { addStridedSliceGradient } from './gradients/strided-slice-grad.js';
import { correctTile } from './gradients/tile-grad.js';
import { addTopKGradient } from './gradients/topk-grad.js';
import { replaceByHostKernel } from './registry/replace-gradient.js';

/**
 * Corrects the wrong gradients and kernels of tfjs-core 4.22, and adds missing ones. tfjs's own gradients must be
 * registered before. Cheap to call again, which corrects what was registered since: a backend, or tfjs's own gradients,
 * which importing the umbrella package `@tensorflow/tfjs` registers once more.
 */
export function correctTfjs(): void {
  if (!additionsRegistered) registerAdditions();
  additionsRegistered = true;
  replaceByHostKernel('MaxPool', 'x', ['x'], maxPoolGradKernel);
  replaceByHostKernel('AvgPool', 'x', ['x'], avgPoolGradKernel);
  replaceByHostKernel('ResizeNearestNeighbor', 'images', ['images'], resizeNearestNeighborGradKernel);
  replaceByHostKernel('ResizeBilinear', 'images', ['images'], resizeBilinearGradKernel);
  correctMirrorPad();
  correctProd();
  correctGatherGradient();
  correctCumsum();
  correctSplits();
  correctTile();
  reduceBroadcastGradients();
  replaceBatchNormGradient();
  completeBatchNormInputs();
  correctKernels();
}

let additionsRegistered = false;

/** Registers the gradients and kernels that tfjs lacks. */
function registerAdditions(): void {
  addComparisonGradients();
  addStridedSliceGradient();
  addDepthToSpaceGradient();
  addTopKGradient();
  addCropAndResizeGradient();
  addEinsumGradient();
  addEinsumOnWasm();
  addConvBackpropOnWasm();
  addSegmentSumOnWasm();
  refuseComplexGradients();
}
