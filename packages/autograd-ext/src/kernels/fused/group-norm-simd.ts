import type { HostTensor, Shapes, SimdKernel } from '../registry/host-kernel.js';
import type { Simd } from '../simd/instance.js';
import type { GroupNormAttrs } from './group-norm-loops.js';

// The vector lanes run over channels, not groups: sums and coefficients are computed for each channel, and joined to
// groups between the two passes over the values.
const suits = ({ x }: Shapes) => x![2]! % 4 === 0;
/** For each channel two float64 sums and four float32 coefficients. */
const scratchBytes = ({ x }: Shapes) => x![2]! * 32;

/** Group normalisation of `[B, S, C]` with SIMD. */
export const groupNormSimd: SimdKernel<GroupNormAttrs> = {
  suits,
  scratchBytes,
  run(simd, { x, weight, bias }, y, attrs, scratch) {
    const [ws, bs] = [weight!.values, bias!.values];
    forEachExample(x!, (offset, rows, channels) => {
      const memory = new Scratch(y.buffer as ArrayBuffer, scratch, channels);
      const at = x!.values.byteOffset + offset;
      const groups = moments(simd, at, rows, memory, attrs);
      memory.setCoefficients((c) => {
        const { mean, scale } = groups[Math.floor((c * attrs.groups) / channels)]!;
        return [mean, scale * ws[c]!, bs[c]!, 0];
      });
      simd.columnAffine(at, y.byteOffset + offset, rows, channels, memory.coefficientsAt);
    });
  },
};

/** The gradient with respect to x: with g = dy · weight, `scale · (g - mean(g) - x̂ · mean(g · x̂))`. */
export const groupNormGradSimd: SimdKernel<GroupNormAttrs> = {
  suits,
  scratchBytes,
  run(simd, { x, weight, dy }, dx, attrs, scratch) {
    const ws = weight!.values;
    forEachExample(x!, (offset, rows, channels) => {
      const memory = new Scratch(dx.buffer as ArrayBuffer, scratch, channels);
      const [at, dyAt] = [x!.values.byteOffset + offset, dy!.values.byteOffset + offset];
      const groups = moments(simd, at, rows, memory, attrs);
      simd.columnSums(dyAt, at, rows, channels, memory.sumsAt);
      const gradientMeans = memory.groupMeans(attrs.groups, rows, (c) => ws[c]!); // of g and of g · x
      memory.setCoefficients((c) => {
        const group = Math.floor((c * attrs.groups) / channels);
        const { mean, scale } = groups[group]!;
        const [shift, product] = gradientMeans[group]!;
        const slope = (product - mean * shift) * scale * scale;
        return [mean, -scale * slope, -scale * shift, scale * ws[c]!];
      });
      simd.columnAffineGrad(at, dyAt, dx.byteOffset + offset, rows, channels, memory.coefficientsAt);
    });
  },
};

function forEachExample({ shape }: HostTensor, visit: (offset: number, rows: number, channels: number) => void): void {
  const [batch, rows, channels] = shape as [number, number, number];
  for (let b = 0; b < batch; b++) visit(b * rows * channels * 4, rows, channels);
}

/** Mean and 1/sqrt(variance + eps) of each group. */
function moments(simd: Simd, at: number, rows: number, memory: Scratch, { groups, eps }: GroupNormAttrs) {
  simd.columnSums(at, at, rows, memory.channels, memory.sumsAt);
  return memory
    .groupMeans(groups, rows, () => 1)
    .map(([mean, square]) => ({ mean, scale: 1 / Math.sqrt(Math.max(0, square - mean * mean) + eps) }));
}

/** The scratch memory: two sums, then four coefficients, for each channel. Addresses are in bytes. */
class Scratch {
  readonly coefficientsAt: number;
  readonly #sums: Float64Array;
  readonly #coefficients: Float32Array;

  constructor(
    buffer: ArrayBuffer,
    readonly sumsAt: number,
    readonly channels: number,
  ) {
    this.coefficientsAt = sumsAt + channels * 16;
    this.#sums = new Float64Array(buffer, sumsAt, channels * 2);
    this.#coefficients = new Float32Array(buffer, this.coefficientsAt, channels * 4);
  }

  /** Means of the two sums over each group, with a weight for each channel. */
  groupMeans(groups: number, rows: number, weight: (c: number) => number): [first: number, second: number][] {
    const width = this.channels / groups;
    return Array.from({ length: groups }, (_, group) => {
      let [first, second] = [0, 0];
      for (let c = group * width; c < (group + 1) * width; c++) {
        first += this.#sums[c]! * weight(c);
        second += this.#sums[this.channels + c]! * weight(c);
      }
      return [first / (rows * width), second / (rows * width)];
    });
  }

  /** Stores the coefficients of `(x - m) · p + e + dy · a` for each channel. */
  setCoefficients(coefficientsOf: (c: number) => readonly [m: number, p: number, e: number, a: number]): void {
    for (let c = 0; c < this.channels; c++) {
      const [m, p, e, a] = coefficientsOf(c);
      const rounded = Math.fround(m); // adds the mean's rounding error to the constant
      [rounded, p, e + (rounded - m) * p, a].forEach((value, i) => (this.#coefficients[i * this.channels + c] = value));
    }
  }
}
