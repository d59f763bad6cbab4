import { resizeGradKernel, resizeRatio, type ResizeImageAttrs, type Sources } from './scatter-pixels.js';

/** The gradient of tf.image.resizeNearestNeighbor. (tfjs's cpu kernel is wrong for more than one example.) */
export const resizeNearestNeighborGradKernel = resizeGradKernel('ResizeNearestNeighborInputGrad', nearestSources);

/** The pixel that each pixel of an axis resized from `from` to `to` repeats. */
export function nearestSources(from: number, to: number, attrs: ResizeImageAttrs): Sources[] {
  const ratio = resizeRatio(from, to, attrs);
  const round = attrs.alignCorners ? Math.round : Math.floor;
  return Array.from({ length: to }, (_, i) => [
    [Math.min(from - 1, round(ratio * (attrs.halfPixelCenters ? i + 0.5 : i))), 1],
  ]);
}
