import { resizeGradKernel, resizeRatio, type ResizeImageAttrs, type Sources } from './scatter-pixels.js';

/** The gradient of tf.image.resizeBilinear. (tfjs's kernels ignore halfPixelCenters.) */
export const resizeBilinearGradKernel = resizeGradKernel('ResizeBilinearInputGrad', bilinearSources);

/** Two pixels and their weights, for each pixel of an axis resized from `from` to `to`. */
export function bilinearSources(from: number, to: number, attrs: ResizeImageAttrs): Sources[] {
  const ratio = resizeRatio(from, to, attrs);
  return Array.from({ length: to }, (_, i) => {
    const position = Math.min(Math.max(attrs.halfPixelCenters ? ratio * (i + 0.5) - 0.5 : ratio * i, 0), from - 1);
    const first = Math.floor(position);
    return [
      [first, first + 1 - position],
      [Math.min(first + 1, from - 1), position - first],
    ];
  });
}
