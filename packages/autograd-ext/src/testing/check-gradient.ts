import { randomNormal, tensor, tidy, type Tensor } from '@tensorflow/tfjs-core';
import { gradients } from '../vjp.js';

/** How a gradient is compared with central differences. */
export interface CheckGradientOptions {
  /** Largest step of an entry; halved once, and both estimates combined. */
  readonly step?: number;
  /**
   * Largest error allowed, relative to the largest entry of that input's gradient (or to `scale` if that is larger).
   */
  readonly tolerance?: number;
  /** Gradients smaller than this are compared absolutely. */
  readonly scale?: number;
  /** Entries compared one by one, an input; all of a small input. */
  readonly entries?: number;
  /** Of the random projections of the output and of the choice of entries. */
  readonly seed?: number;
}

/**
 * Compares the gradient of `sum(fn(...inputs) * R)`, R random, with central differences (two steps, Richardson): entry
 * by entry, and along one random direction an input, which touches every entry.
 * @throws an error that names the input and the worst entry
 */
export function checkGradient(
  fn: (...xs: Tensor[]) => Tensor,
  inputs: Tensor[],
  { step = 2e-2, tolerance = 4e-3, scale = 1e-2, entries = 48, seed = 1 }: CheckGradientOptions = {},
): void {
  tidy(() => {
    const projection = randomNormal(fn(...inputs).shape, 0, 1, 'float32', seed + 7919);
    const { grads } = gradients(() => fn(...inputs), inputs, projection);
    const weights = projection.dataSync();
    inputs.forEach((input, index) => {
      const values = Float32Array.from(input.dataSync());
      const analytic = Float32Array.from(grads[index]?.dataSync() ?? { length: values.length }, (g) => g ?? 0);
      const along = (direction: Float32Array) =>
        slope(direction, step, (moved) => evaluate(fn, inputs, index, moved), values, weights);
      const allowed =
        tolerance *
        Math.max(
          scale,
          analytic.reduce((most, g) => Math.max(most, Math.abs(g)), 0),
        );
      for (const entry of choose(values.length, entries, seed))
        compare(
          along(unit(values.length, entry)),
          analytic[entry]!,
          allowed,
          `input ${index} [${input.shape}], entry ${entry}`,
        );
      const direction = randomNormal(input.shape, 0, 1, 'float32', seed + 104729 + index).dataSync() as Float32Array;
      const product = analytic.reduce((sum, g, i) => sum + g * direction[i]!, 0);
      compare(
        along(direction),
        product,
        allowed * Math.sqrt(values.length) * 2,
        `input ${index} [${input.shape}], a random direction`,
      );
    });
  });
}

function compare(expected: number, actual: number, allowed: number, where: string): void {
  if (Math.abs(expected - actual) <= allowed) return; // false for NaN
  throw new Error(`checkGradient: ${where} got ${actual}, expected ${expected} by differences, within ${allowed}.`);
}

function evaluate(
  fn: (...xs: Tensor[]) => Tensor,
  inputs: Tensor[],
  index: number,
  values: Float32Array,
): Float32Array {
  return tidy(
    () => fn(...inputs.map((x, i) => (i === index ? tensor(values, x.shape) : x))).dataSync() as Float32Array,
  ).slice();
}

/** The derivative of `sum(weights * f(values + t * direction))` at t = 0. */
function slope(
  direction: Float32Array,
  step: number,
  f: (values: Float32Array) => Float32Array,
  values: Float32Array,
  weights: ArrayLike<number>,
): number {
  // not hypot: a large image has too many entries to be arguments
  const size = Math.sqrt(direction.reduce((sum, x) => sum + x * x, 0));
  const difference = (h: number) => {
    const t = h / size;
    const [ahead, behind] = [t, -t].map((s) => f(values.map((value, i) => value + s * direction[i]!))) as [
      Float32Array,
      Float32Array,
    ];
    return ahead.reduce((sum, y, i) => sum + (y - behind[i]!) * weights[i]!, 0) / (2 * t);
  };
  return (4 * difference(step / 2) - difference(step)) / 3;
}

const unit = (length: number, entry: number) => new Float32Array(length).fill(1, entry, entry + 1);

/** All of few entries, else a sample of them. */
function choose(length: number, count: number, seed: number): number[] {
  if (length <= count) return Array.from({ length }, (_, i) => i);
  const stride = length / count;
  return Array.from({ length: count }, (_, i) =>
    Math.min(length - 1, Math.floor((i + ((i * 0.618 + seed * 0.371) % 1)) * stride)),
  );
}
