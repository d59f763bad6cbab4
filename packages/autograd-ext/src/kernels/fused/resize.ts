import { resizeWeights, type ResizeKernel } from '../geometry/resize-weights.js';
import type { HostKernel } from '../registry/host-kernel.js';

/** The attributes of the resize kernels: the sizes of the images and the filter. */
export interface ResizeAttrs extends ResizeKernel {
  readonly from: readonly [height: number, width: number];
  readonly to: readonly [height: number, width: number];
}

/** Resizes `[B, H, W, C]` along the vertical, then the horizontal axis, reading only pixels of non-zero weight. */
export const resizeKernel: HostKernel<ResizeAttrs> = {
  name: 'Resize',
  outputShape: ({ x }, { to }) => [x![0]!, to[0], to[1], x![3]!],
  run({ x }, y, { from, to, ...kernel }) {
    const [batch, , , channels] = x!.shape as [number, number, number, number];
    const tall = new Float32Array(batch * to[0] * from[1] * channels);
    combine(x!.values, tall, batch, from[1] * channels, sparseWeights(from[0], to[0], kernel, false));
    combine(tall, y, batch * to[0], channels, sparseWeights(from[1], to[1], kernel, false));
  },
};

/** The gradient: the same sums with transposed weights, in reverse order. */
export const resizeGradKernel: HostKernel<ResizeAttrs> = {
  name: 'ResizeGrad',
  outputShape: ({ dy }, { from }) => [dy![0]!, from[0], from[1], dy![3]!],
  run({ dy }, dx, { from, to, ...kernel }) {
    const [batch, , , channels] = dy!.shape as [number, number, number, number];
    const narrow = new Float32Array(batch * to[0] * from[1] * channels);
    combine(dy!.values, narrow, batch * to[0], channels, sparseWeights(from[1], to[1], kernel, true));
    combine(narrow, dx, batch, from[1] * channels, sparseWeights(from[0], to[0], kernel, true));
  },
};

/** A sparse matrix: for each result along an axis, the inputs with non-zero weights. */
interface SparseWeights {
  /** Number of inputs. */
  readonly inputs: number;
  readonly results: readonly (readonly (readonly [index: number, weight: number])[])[];
}

function sparseWeights(from: number, to: number, kernel: ResizeKernel, transposed: boolean): SparseWeights {
  const matrix = resizeWeights(from, to, kernel); // [to, from]
  const results = Array.from({ length: transposed ? from : to }, () => [] as [number, number][]);
  for (let row = 0; row < to; row++) {
    for (let column = 0; column < from; column++) {
      const weight = matrix[row * from + column]!;
      if (weight) results[transposed ? column : row]!.push(transposed ? [row, weight] : [column, weight]);
    }
  }
  return { inputs: transposed ? to : from, results };
}

/** Writes weighted sums along the middle axis of `[outer, inputs, inner]` to `[outer, results, inner]`. */
function combine(
  x: Float32Array,
  y: Float32Array,
  outer: number,
  inner: number,
  { inputs, results }: SparseWeights,
): void {
  y.fill(0);
  let to = 0;
  for (let o = 0; o < outer; o++) {
    for (const sources of results) {
      for (const [index, weight] of sources) {
        const from = (o * inputs + index) * inner;
        for (let i = 0; i < inner; i++) y[to + i]! += weight * x[from + i]!;
      }
      to += inner;
    }
  }
}
