import { avgPoolGradKernel } from './avg-pool-grad.js';
import { replaceBatchNormGradient } from './batch-norm.js';
import { reduceBroadcastGradients } from './broadcast-grads.js';
import { addComparisonGradients } from './comparison-grads.js';
import { refuseComplexGradients } from './complex-grad.js';
import { addConvBackpropOnWasm } from './conv-backprop-wasm.js';
import { replaceByHostKernel } from './correct-gradient.js';
import { correctKernels } from './correct-kernels.js';
import { addCropAndResizeGradient } from './crop-and-resize-grad.js';
import { correctCumsum } from './cumsum-grad.js';
import { addDepthToSpaceGradient } from './depth-to-space-grad.js';
import { addEinsum } from './einsum.js';
import { correctGatherGradient } from './gather.js';
import { maxPoolGradKernel } from './max-pool-grad.js';
import { correctMirrorPad } from './mirror-pad-grad.js';
import { correctProd } from './prod-grad.js';
import { resizeBilinearGradKernel } from './resize-bilinear-grad.js';
import { resizeNearestNeighborGradKernel } from './resize-nearest-neighbor-grad.js';
import { addSegmentSumOnWasm } from './segment-sum-wasm.js';
import { correctSplits } from './split-grads.js';
import { addStridedSliceGradient } from './strided-slice-grad.js';
import { correctTile } from './tile-grad.js';
import { addTopKGradient } from './topk-grad.js';

/**
 * Replaces the gradients of tfjs-core 4.22 that are wrong, and adds gradients and kernels that it lacks. Needs its own
 * to be registered. Called again, it costs next to nothing, and corrects what was registered since: a backend, or
 * tfjs's own gradients, which come back with the umbrella package `@tensorflow/tfjs`.
 */
export function correctTfjs(): void {
  if (!areAdded) addWhatIsMissing();
  areAdded = true;
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
  correctKernels();
}

let areAdded = false;

function addWhatIsMissing(): void {
  addComparisonGradients();
  addStridedSliceGradient();
  addDepthToSpaceGradient();
  addTopKGradient();
  addCropAndResizeGradient();
  addEinsum();
  addConvBackpropOnWasm();
  addSegmentSumOnWasm();
  refuseComplexGradients();
}
