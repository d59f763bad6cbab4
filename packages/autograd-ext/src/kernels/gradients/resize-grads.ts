import { bilinearSources, nearestSources, type ResizeImageAttrs, type Sources } from '../geometry/resize-sources.js';
import type { HostKernel } from '../registry/host-kernel.js';

/** The gradient of tf.image.resizeBilinear. (tfjs's kernels ignore halfPixelCenters.) */
export const resizeBilinearGradKernel = resizeGradKernel('ResizeBilinearInputGrad', bilinearSources);

/** The gradient of tf.image.resizeNearestNeighbor. (tfjs's cpu kernel is wrong for more than one example.) */
export const resizeNearestNeighborGradKernel = resizeGradKernel('ResizeNearestNeighborInputGrad', nearestSources);

/** The transpose of a resize, given by the sources that the resize reads along an axis. */
function resizeGradKernel(
  name: string,
  sources: (from: number, to: number, attrs: ResizeImageAttrs) => Sources[],
): HostKernel<ResizeImageAttrs> {
  return {
    name,
    outputShape: ({ images }) => images!,
    run({ dy, images }, dx, attrs) {
      const [rows, columns] = [1, 2].map((axis) => sources(images!.shape[axis]!, dy!.shape[axis]!, attrs)) as [
        Sources[],
        Sources[],
      ];
      scatterPixels(dy!.values, dx, images!.shape, rows, columns);
    },
  };
}

/** Adds each pixel of dy `[B, H', W', C]`, weighted, to its source pixels in dx `[B, H, W, C]`. */
function scatterPixels(
  dy: Float32Array,
  dx: Float32Array,
  shape: readonly number[],
  rows: readonly Sources[],
  columns: readonly Sources[],
): void {
  const [batch, height, width, channels] = shape as [number, number, number, number];
  dx.fill(0);
  let from = 0;
  for (let b = 0; b < batch; b++) {
    for (const row of rows) {
      for (const column of columns) {
        for (const [r, rowWeight] of row) {
          for (const [c, columnWeight] of column) {
            const to = ((b * height + r) * width + c) * channels;
            for (let i = 0; i < channels; i++) dx[to + i]! += rowWeight * columnWeight * dy[from + i]!;
          }
        }
        from += channels;
      }
    }
  }
}
