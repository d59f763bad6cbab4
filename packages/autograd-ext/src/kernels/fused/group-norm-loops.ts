import type { HostLoop } from '../registry/host-kernel.js';

/** The attributes of the group normalisation kernels. */
export interface GroupNormAttrs {
  /** Divides the channels. */
  readonly groups: number;
  /** Added to the variance. */
  readonly eps: number;
}

/** Group normalisation of `[B, S, C]` as plain loops, with sums in float64. */
export const groupNormLoop: HostLoop<GroupNormAttrs> = ({ x, weight, bias }, y, { groups, eps }) => {
  const [xs, ws, bs] = [x!.values, weight!.values, bias!.values];
  forEachGroup(x!.shape, groups, (group) => {
    const { first, rows, stride, width, channel } = group;
    const { mean, scale } = moments(xs, group, eps);
    for (let row = 0; row < rows; row++) {
      const start = first + row * stride;
      for (let c = 0; c < width; c++)
        y[start + c] = (xs[start + c]! - mean) * scale * ws[channel + c]! + bs[channel + c]!;
    }
  });
};

/**
 * The gradient of group normalisation with respect to x. With g = dy · weight and the normalised input x̂:
 * `scale · (g - mean(g) - x̂ · mean(g · x̂))`.
 */
export const groupNormGradLoop: HostLoop<GroupNormAttrs> = ({ x, weight, dy }, dx, { groups, eps }) => {
  const [xs, ws, dys] = [x!.values, weight!.values, dy!.values];
  forEachGroup(x!.shape, groups, (group) => {
    const { first, rows, stride, width, channel } = group;
    const { mean, scale } = moments(xs, group, eps);
    let [gradientSum, productSum] = [0, 0]; // sums of g and of g · (x - mean)
    for (let row = 0; row < rows; row++) {
      const start = first + row * stride;
      for (let c = 0; c < width; c++) {
        const g = dys[start + c]! * ws[channel + c]!;
        gradientSum += g;
        productSum += g * (xs[start + c]! - mean);
      }
    }
    const shift = gradientSum / (rows * width);
    const slope = (productSum * scale * scale) / (rows * width);
    for (let row = 0; row < rows; row++) {
      const start = first + row * stride;
      for (let c = 0; c < width; c++) {
        dx[start + c] = scale * (dys[start + c]! * ws[channel + c]! - shift - (xs[start + c]! - mean) * slope);
      }
    }
  });
};

/** The elements of one group in one example: `rows` rows of `width` channels. */
interface Group {
  /** Index of the first element. */
  readonly first: number;
  readonly rows: number;
  /** Elements from one row to the next. */
  readonly stride: number;
  readonly width: number;
  /** Index of the group's first channel. */
  readonly channel: number;
}

function forEachGroup(shape: readonly number[], groups: number, visit: (group: Group) => void): void {
  const [batch, rows, channels] = shape as [number, number, number];
  const width = channels / groups;
  for (let b = 0; b < batch; b++) {
    for (let g = 0; g < groups; g++)
      visit({ first: b * rows * channels + g * width, rows, stride: channels, width, channel: g * width });
  }
}

/** Mean and 1/sqrt(variance + eps), in two passes: a single pass cancels where the mean is large. */
function moments(x: Float32Array, { first, rows, stride, width }: Group, eps: number) {
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
