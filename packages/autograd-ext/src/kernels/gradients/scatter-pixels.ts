import type { HostKernel } from '../fused/host-kernel.js';

/** The attributes of tfjs's resize kernels. */
export interface ResizeImageAttrs {
  readonly alignCorners: boolean;
  readonly halfPixelCenters: boolean;
}

/** The source pixels of one resized pixel along an axis, with their weights. */
export type Sources = readonly (readonly [index: number, weight: number])[];

/** `in / out` as tfjs computes it. */
export function resizeRatio(from: number, to: number, { alignCorners }: ResizeImageAttrs): number {
  return alignCorners && to > 1 ? (from - 1) / (to - 1) : from / to;
}

/** A resize's gradient, from the source pixels that a resize from `from` to `to` takes along an axis. */
export function resizeGradKernel(
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

/** Adds each pixel of dy `[B, H', W', C]` to the pixels of dx `[B, H, W, C]` that it was made of. */
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
