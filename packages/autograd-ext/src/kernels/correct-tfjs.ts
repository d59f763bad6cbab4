import { avgPoolGradKernel } from './gradients/avg-pool-grad.js';
import { replaceBatchNormGradient } from './repaired/batch-norm.js';
import { reduceBroadcastGradients } from './gradients/broadcast-grads.js';
import { addComparisonGradients } from './gradients/comparison-grads.js';
import { refuseComplexGradients } from './gradients/complex-grad.js';
import { addConvBackpropOnWasm } from './repaired/conv-backprop-wasm.js';
import { replaceByHostKernel } from './gradients/correct-gradient.js';
import { correctKernels } from './repaired/correct-kernels.js';
import { addCropAndResizeGradient } from './gradients/crop-and-resize-grad.js';
import { correctCumsum } from './gradients/cumsum-grad.js';
import { addDepthToSpaceGradient } from './gradients/depth-to-space-grad.js';
import { addEinsum } from './repaired/einsum.js';
import { correctGatherGradient } from './repaired/gather.js';
import { maxPoolGradKernel } from './gradients/max-pool-grad.js';
import { correctMirrorPad } from './gradients/mirror-pad-grad.js';
import { correctProd } from './gradients/prod-grad.js';
import { resizeBilinearGradKernel } from './gradients/resize-bilinear-grad.js';
import { resizeNearestNeighborGradKernel } from './gradients/resize-nearest-neighbor-grad.js';
import { addSegmentSumOnWasm } from './repaired/segment-sum-wasm.js';
import { correctSplits } from './gradients/split-grads.js';
import { addStridedSliceGradient } from './gradients/strided-slice-grad.js';
import { correctTile } from './gradients/tile-grad.js';
import { addTopKGradient } from './gradients/topk-grad.js';

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
