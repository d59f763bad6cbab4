/** The attributes of tfjs's ResizeBilinear and ResizeNearestNeighbor kernels. */
export interface ResizeImageAttrs {
  readonly alignCorners: boolean;
  readonly halfPixelCenters: boolean;
}

/** The source pixels that one resized pixel is interpolated from, along one axis, with their weights. */
export type Sources = readonly (readonly [index: number, weight: number])[];

/** The sources of each pixel of an axis that tf.image.resizeBilinear resizes from `from` to `to` pixels: two each. */
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

/** The source of each pixel of an axis that tf.image.resizeNearestNeighbor resizes from `from` to `to` pixels. */
export function nearestSources(from: number, to: number, attrs: ResizeImageAttrs): Sources[] {
  const ratio = resizeRatio(from, to, attrs);
  const round = attrs.alignCorners ? Math.round : Math.floor;
  return Array.from({ length: to }, (_, i) => [
    [Math.min(from - 1, round(ratio * (attrs.halfPixelCenters ? i + 0.5 : i))), 1],
  ]);
}

/** Input pixels per output pixel, as tfjs computes it. */
function resizeRatio(from: number, to: number, { alignCorners }: ResizeImageAttrs): number {
  return alignCorners && to > 1 ? (from - 1) / (to - 1) : from / to;
}
