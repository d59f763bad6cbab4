import { groupNormGradSimd, groupNormSimd } from './group-norm-simd.js';
import type { HostKernel } from './host-kernel.js';

/** How channels are grouped, and the number added to the variance. */
export interface GroupNormAttrs {
  readonly groups: number;
  readonly eps: number;
}

/** `[B, S, C]`; sums in float64. Layer normalisation is the case of one place and one group. */
export const groupNormKernel: HostKernel<GroupNormAttrs> = {
  name: 'GroupNorm',
  outputShape: ({ x }) => x!,
  run({ x, weight, bias }, y, { groups, eps }) {
    const [xs, ws, bs] = [x!.values, weight!.values, bias!.values];
    forEachGroup(x!.shape, groups, (first, rows, stride, width, channel) => {
      const { mean, scale } = moments(xs, first, rows, stride, width, eps);
      for (let row = 0; row < rows; row++) {
        const start = first + row * stride;
        for (let c = 0; c < width; c++)
          y[start + c] = (xs[start + c]! - mean) * scale * ws[channel + c]! + bs[channel + c]!;
      }
    });
  },
  simd: groupNormSimd,
};

/** The gradient of the input. */
export const groupNormGradKernel: HostKernel<GroupNormAttrs> = {
  name: 'GroupNormGrad',
  outputShape: ({ x }) => x!,
  run({ x, weight, dy }, dx, { groups, eps }) {
    const [xs, ws, dys] = [x!.values, weight!.values, dy!.values];
    forEachGroup(x!.shape, groups, (first, rows, stride, width, channel) => {
      const { mean, scale } = moments(xs, first, rows, stride, width, eps);
      let [total, along] = [0, 0]; // of the gradient after the affine part, and its product with the normalised input
      for (let row = 0; row < rows; row++) {
        const start = first + row * stride;
        for (let c = 0; c < width; c++) {
          const g = dys[start + c]! * ws[channel + c]!;
          total += g;
          along += g * (xs[start + c]! - mean);
        }
      }
      const shift = total / (rows * width);
      const slope = (along * scale * scale) / (rows * width);
      for (let row = 0; row < rows; row++) {
        const start = first + row * stride;
        for (let c = 0; c < width; c++) {
          dx[start + c] = scale * (dys[start + c]! * ws[channel + c]! - shift - (xs[start + c]! - mean) * slope);
        }
      }
    });
  },
  simd: groupNormGradSimd,
};

type Visit = (first: number, rows: number, stride: number, width: number, channel: number) => void;

function forEachGroup([batch, rows, channels]: readonly number[], groups: number, visit: Visit): void {
  const width = channels! / groups;
  for (let b = 0; b < batch!; b++) {
    for (let g = 0; g < groups; g++) visit(b * rows! * channels! + g * width, rows!, channels!, width, g * width);
  }
}

/** Mean and 1/sqrt(variance + eps), in two passes: one pass cancels where the mean is large. */
function moments(x: Float32Array, first: number, rows: number, stride: number, width: number, eps: number) {
  let sum = 0;
  for (let row = 0; row < rows; row++) {
    const start = first + row * stride;
    for (let c = 0; c < width; c++) sum += x[start + c]!;
  }
  const mean = sum / (rows * width);
  let squares = 0;
  for (let row = 0; row < rows; row++) {
    const start = first + row * stride;
    for (let c = 0; c < width; c++) {
      const centred = x[start + c]! - mean;
      squares += centred * centred;
    }
  }
  return { mean, scale: 1 / Math.sqrt(squares / (rows * width) + eps) };
}
