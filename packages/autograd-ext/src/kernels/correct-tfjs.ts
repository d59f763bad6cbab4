import { avgPoolGradKernel } from './avg-pool-grad.js';
import { addComparisonGradients } from './comparison-grads.js';
import { replaceByHostKernel } from './correct-gradient.js';
import { shareClonesOnWasm } from './identity-wasm.js';
import { maxPoolGradKernel } from './max-pool-grad.js';
import { correctMirrorPad } from './mirror-pad-grad.js';
import { correctProd } from './prod-grad.js';
import { resizeBilinearGradKernel } from './resize-bilinear-grad.js';
import { resizeNearestNeighborGradKernel } from './resize-nearest-neighbor-grad.js';

/** Replaces the gradients of tfjs-core 4.22 that are wrong, and adds some that it lacks. Needs its own to be registered. */
export function correctTfjs(): void {
  replaceByHostKernel('MaxPool', 'x', ['x'], maxPoolGradKernel);
  replaceByHostKernel('AvgPool', 'x', ['x'], avgPoolGradKernel);
  replaceByHostKernel('ResizeNearestNeighbor', 'images', ['images'], resizeNearestNeighborGradKernel);
  replaceByHostKernel('ResizeBilinear', 'images', ['images'], resizeBilinearGradKernel);
  correctMirrorPad();
  correctProd();
  addComparisonGradients();
  shareClonesOnWasm();
}
