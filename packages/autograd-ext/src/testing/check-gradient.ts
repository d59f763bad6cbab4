import { randomNormal, tensor, tidy, type Tensor } from '@tensorflow/tfjs-core';
import { gradients } from '../vjp.js';

/** How a gradient is compared with central differences. */
export interface CheckGradientOptions {
  /** Larger of the two step lengths; the other is half of it. */
  readonly step?: number;
  /** Largest error allowed, relative to the largest entry of that input's gradient, or to `scale` if that is larger. */
  readonly tolerance?: number;
  /** Gradients smaller than this are compared absolutely. */
  readonly scale?: number;
  /** Number of entries of each input to compare one by one; a smaller input is compared completely. */
  readonly entries?: number;
  /** Seed of the random projection of the output, the random directions and the choice of entries. */
  readonly seed?: number;
}

/**
 * Compares the gradient of `sum(fn(...inputs) * R)`, R random, with central differences (two steps, Richardson
 * extrapolation): entry by entry, and along one random direction per input, which covers every entry.
 * @throws an error that names the input and the entry that is off
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
      const evaluateAt = (moved: Float32Array) => evaluate(fn, inputs, index, moved);
      const slopeAlong = (direction: Float32Array) => slope(direction, step, evaluateAt, values, weights);
      const largest = analytic.reduce((most, g) => Math.max(most, Math.abs(g)), 0);
      const allowed = tolerance * Math.max(scale, largest);
      const name = `input ${index} [${input.shape}]`;
      for (const entry of chooseEntries(values.length, entries, seed)) {
        const difference = slopeAlong(unitVector(values.length, entry));
        compare(difference, analytic[entry]!, allowed, `${name}, entry ${entry}`);
      }
      const direction = randomNormal(input.shape, 0, 1, 'float32', seed + 104729 + index).dataSync() as Float32Array;
      const product = analytic.reduce((sum, g, i) => sum + g * direction[i]!, 0);
      const allowedAlong = allowed * Math.sqrt(values.length) * 2;
      compare(slopeAlong(direction), product, allowedAlong, `${name}, a random direction`);
    });
  });
}

function compare(expected: number, actual: number, allowed: number, where: string): void {
  if (Math.abs(expected - actual) <= allowed) return; // false for NaN
  throw new Error(`checkGradient: ${where} got ${actual}, expected ${expected} by differences, within ${allowed}.`);
}

/** The output of `fn` with the values of one input replaced. */
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
  // Math.hypot takes its numbers as arguments, of which a large image has too many.
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

const unitVector = (length: number, entry: number) => new Float32Array(length).fill(1, entry, entry + 1);

/** Returns all entries of a small input, else `count` entries spread over it. */
function chooseEntries(length: number, count: number, seed: number): number[] {
  if (length <= count) return Array.from({ length }, (_, i) => i);
  const stride = length / count;
  return Array.from({ length: count }, (_, i) =>
    Math.min(length - 1, Math.floor((i + ((i * 0.618 + seed * 0.371) % 1)) * stride)),
  );
}
