import type { TorchGenerator } from '@alignprop/autograd-ext';
import { roundHalfEven } from '@alignprop/diffusion';

/**
 * Draws `count` of the integers in [start, end) without replacement, each with the weight (1 + its distance from
 * start)^bias among those that are left; all of them if there are no more. They come in ascending order.
 */
export function lateBiased(
  [start, end]: readonly [number, number],
  count: number,
  bias: number,
  generator: TorchGenerator,
): readonly number[] {
  // The order of exponential variables with these rates is that of successive weighted draws.
  const arrivals = Array.from(generator.rand(end - start), (u, i) => -Math.log1p(-u) / (i + 1) ** bias);
  return [...arrivals.keys()]
    .sort((a, b) => arrivals[a]! - arrivals[b]!)
    .slice(0, count)
    .map((i) => start + i)
    .sort((a, b) => a - b);
}

/** Two step indices k < j. */
export type Pair = readonly [k: number, j: number];

/** Draws two different steps, all pairs equally likely. */
export function uniformPair(steps: number, generator: TorchGenerator): Pair {
  const first = generator.randint(0, steps, 1)[0]!;
  const other = generator.randint(0, steps - 1, 1)[0]!;
  const second = other < first ? other : other + 1;
  return first < second ? [first, second] : [second, first];
}

/**
 * Draws a pair that splits the steps into three parts: those from j on, those between k and j, and those before k, in
 * the proportions of a Dirichlet variable. At most `last` steps are left from j on; what is above goes before k.
 */
export function dirichletPair(
  steps: number,
  concentration: readonly [late: number, between: number, early: number],
  last: number,
  generator: TorchGenerator,
): Pair {
  const parts = concentration.map((shape) => gamma(shape, generator));
  const [late, between] = partLengths(parts, steps);
  const j = Math.max(steps - 1 - late!, steps - last);
  return [j - between!, j];
}

/** Rounds parts to integers of at least 1 with a given sum: the largest part takes the difference. */
function partLengths(parts: readonly number[], sum: number): readonly number[] {
  const total = parts.reduce((a, b) => a + b);
  const lengths = parts.map((part) => roundHalfEven((part / total) * sum));
  const settle = (sizes: readonly number[]) =>
    (lengths[sizes.indexOf(Math.max(...sizes))]! += sum - lengths.reduce((a, b) => a + b));
  settle(parts);
  lengths.forEach((length, i) => (lengths[i] = Math.max(1, length)));
  settle(lengths);
  return lengths;
}

/** Draws a gamma variable of a shape of at least 1 (Marsaglia and Tsang, "A simple method", 2000). */
function gamma(shape: number, generator: TorchGenerator): number {
  const d = shape - 1 / 3;
  for (;;) {
    const x = generator.randn(1)[0]!;
    const v = (1 + x / Math.sqrt(9 * d)) ** 3;
    const u = 1 - generator.rand(1)[0]!;
    if (v > 0 && Math.log(u) < x ** 2 / 2 + d * (1 - v + Math.log(v))) return d * v;
  }
}
