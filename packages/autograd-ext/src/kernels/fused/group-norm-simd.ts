import type { GroupNormAttrs } from './group-norm.js';
import type { HostKernel, HostTensor } from './host-kernel.js';
import type { Simd } from '../simd/instance.js';

type SimdVersion = NonNullable<HostKernel<GroupNormAttrs>['simd']>;
type Shapes = Readonly<Record<string, readonly number[]>>;

// Channels, not groups, are what lies four by four: sums and coefficients are those of channels, joined to groups
// between the passes. Scratch: two float64 sums and four float32 coefficients a channel.
const suits = ({ x }: Shapes) => x![2]! % 4 === 0;
const scratchBytes = ({ x }: Shapes) => x![2]! * 32;

/** Group normalisation with SIMD. */
export const groupNormSimd: SimdVersion = {
  suits,
  scratchBytes,
  run(simd, { x, weight, bias }, y, attrs, scratch) {
    const [ws, bs] = [weight!.values, bias!.values];
    forEachExample(x!, (offset, rows, channels) => {
      const views = new Views(y.buffer as ArrayBuffer, scratch, channels);
      const at = x!.values.byteOffset + offset;
      const groups = moments(simd, at, rows, views, attrs);
      views.coefficients((c) => {
        const { mean, scale } = groups[Math.floor((c * attrs.groups) / channels)]!;
        return [mean, scale * ws[c]!, bs[c]!, 0];
      });
      simd.columnAffine(at, at, y.byteOffset + offset, rows, channels, views.coefficientsAt);
    });
  },
};

/** The gradient of the input: with g = dy · weight, `scale · (g - mean(g) - x̂ · mean(g · x̂))`. */
export const groupNormGradSimd: SimdVersion = {
  suits,
  scratchBytes,
  run(simd, { x, weight, dy }, dx, attrs, scratch) {
    const ws = weight!.values;
    forEachExample(x!, (offset, rows, channels) => {
      const views = new Views(dx.buffer as ArrayBuffer, scratch, channels);
      const [at, dyAt] = [x!.values.byteOffset + offset, dy!.values.byteOffset + offset];
      const groups = moments(simd, at, rows, views, attrs);
      simd.columnSums(dyAt, at, rows, channels, scratch);
      const gradients = views.groupMeans(attrs.groups, rows, (c) => ws[c]!);
      views.coefficients((c) => {
        const group = Math.floor((c * attrs.groups) / channels);
        const { mean, scale } = groups[group]!;
        const [shift, product] = gradients[group]!;
        const slope = (product - mean * shift) * scale * scale;
        return [mean, -scale * slope, -scale * shift, scale * ws[c]!];
      });
      simd.columnAffineGrad(at, dyAt, dx.byteOffset + offset, rows, channels, views.coefficientsAt);
    });
  },
};

function forEachExample({ shape }: HostTensor, visit: (offset: number, rows: number, channels: number) => void): void {
  const [batch, rows, channels] = shape as [number, number, number];
  for (let b = 0; b < batch; b++) visit(b * rows * channels * 4, rows, channels);
}

/** Mean and 1/sqrt(variance + eps) of each group. */
function moments(simd: Simd, at: number, rows: number, views: Views, { groups, eps }: GroupNormAttrs) {
  simd.columnSums(at, at, rows, views.channels, views.sumsAt);
  return views
    .groupMeans(groups, rows, () => 1)
    .map(([mean, square]) => ({ mean, scale: 1 / Math.sqrt(Math.max(0, square - mean * mean) + eps) }));
}

/** The scratch memory. */
class Views {
  readonly coefficientsAt: number;
  readonly #sums: Float64Array;
  readonly #coefficients: Float32Array;

  constructor(
    memory: ArrayBuffer,
    readonly sumsAt: number,
    readonly channels: number,
  ) {
    this.coefficientsAt = sumsAt + channels * 16;
    this.#sums = new Float64Array(memory, sumsAt, channels * 2);
    this.#coefficients = new Float32Array(memory, this.coefficientsAt, channels * 4);
  }

  /** Means over each group of what was summed, channel c counting `factor(c)` times. */
  groupMeans(groups: number, rows: number, factor: (c: number) => number): [first: number, second: number][] {
    const width = this.channels / groups;
    return Array.from({ length: groups }, (_, group) => {
      let [first, second] = [0, 0];
      for (let c = group * width; c < (group + 1) * width; c++) {
        first += this.#sums[c]! * factor(c);
        second += this.#sums[this.channels + c]! * factor(c);
      }
      return [first / (rows * width), second / (rows * width)];
    });
  }

  coefficients(of: (c: number) => readonly [m: number, p: number, e: number, a: number]): void {
    for (let c = 0; c < this.channels; c++) {
      const [m, p, e, a] = of(c);
      const rounded = Math.fround(m); // what is lost of the mean goes into the constant
      [rounded, p, e + (rounded - m) * p, a].forEach((value, i) => (this.#coefficients[i * this.channels + c] = value));
    }
  }
}
