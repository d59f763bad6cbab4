import { random, type TorchGenerator } from '@alignprop/autograd-ext';
import { describe, expect, it } from 'vitest';
import { dirichletPair, lateBiased, uniformPair } from './draws.js';

/** The share of each outcome among draws from one generator. */
function frequencies(draws: number, draw: (generator: TorchGenerator) => readonly number[]): Map<string, number> {
  const generator = random(11);
  const counts = new Map<string, number>();
  for (let n = 0; n < draws; n++) {
    const outcome = draw(generator).join(' ');
    counts.set(outcome, (counts.get(outcome) ?? 0) + 1 / draws);
  }
  return counts;
}

/** Expects each outcome as often as its probability says, within five standard deviations. */
function expectFrequencies(
  actual: ReadonlyMap<string, number>,
  expected: Readonly<Record<string, number>>,
  draws: number,
): void {
  expect([...actual.keys()].sort()).toEqual(Object.keys(expected).sort());
  for (const [outcome, p] of Object.entries(expected))
    expect(Math.abs(actual.get(outcome)! - p), outcome).toBeLessThan(5 * Math.sqrt((p * (1 - p)) / draws));
}

describe('lateBiased', () => {
  it('draws without replacement, with the weights of those that are left', () => {
    // Weights 1, 2, 3 of 6; for two of them by hand: P(0 then 1) = 1/6 · 2/5, P(1 then 0) = 2/6 · 1/4, and so on.
    const expected = { '4 5': 1 / 15 + 1 / 12, '4 6': 1 / 10 + 1 / 6, '5 6': 1 / 4 + 1 / 3 };
    expectFrequencies(
      frequencies(20_000, (generator) => lateBiased([4, 7], 2, 1, generator)),
      expected,
      20_000,
    );
  });

  it('prefers none with bias 0, nearly always the last with a large one, and takes all where there are no more', () => {
    const uniform = Object.fromEntries(Array.from({ length: 5 }, (_, i) => [`${i}`, 0.2]));
    expectFrequencies(
      frequencies(10_000, (generator) => lateBiased([0, 5], 1, 0, generator)),
      uniform,
      10_000,
    );
    expect(frequencies(1000, (generator) => lateBiased([0, 5], 1, 40, generator)).get('4')).toBeGreaterThan(0.99);
    expect(lateBiased([2, 5], 9, 1, random(0))).toEqual([2, 3, 4]);
    expect(lateBiased([2, 5], 0, 1, random(0))).toEqual([]);
    expect(lateBiased([5, 5], 0, 1, random(0))).toEqual([]);
  });
});

describe('uniformPair', () => {
  it('draws all pairs equally often', () => {
    const pairs = ['0 1', '0 2', '0 3', '1 2', '1 3', '2 3'];
    expectFrequencies(
      frequencies(12_000, (generator) => uniformPair(4, generator)),
      Object.fromEntries(pairs.map((pair) => [pair, 1 / 6])),
      12_000,
    );
  });
});

describe('dirichletPair', () => {
  const concentration = [2.5, 6, 2] as const;
  const draw = (steps: number, last: number, draws: number) => {
    const generator = random(3);
    return Array.from({ length: draws }, () => dirichletPair(steps, concentration, last, generator));
  };

  it('splits the chain in the mean proportions 2.5 : 6 : 2, with the variance of a Dirichlet variable', () => {
    const steps = 1000;
    const pairs = draw(steps, steps, 6000);
    const between = pairs.map(([k, j]) => (j - k) / steps);
    const mean = between.reduce((a, b) => a + b) / pairs.length;
    const variance = between.reduce((sum, x) => sum + (x - mean) ** 2, 0) / pairs.length;
    const p = 6 / 10.5;
    expect(mean).toBeCloseTo(p, 2);
    expect(Math.sqrt(variance)).toBeCloseTo(Math.sqrt((p * (1 - p)) / 11.5), 2);
    const late = pairs.reduce((sum, [, j]) => sum + (steps - 1 - j) / steps, 0) / pairs.length;
    expect(late).toBeCloseTo(2.5 / 10.5, 2);
  });

  it.each([
    [3, 2],
    [4, 2],
    [25, 10],
    [50, 20],
  ])('keeps 0 <= k < j within %d steps, and j within the last %d but not the last', (steps, last) => {
    for (const [k, j] of draw(steps, last, 500)) {
      expect(k).toBeGreaterThanOrEqual(0);
      expect(k).toBeLessThan(j);
      expect(j).toBeGreaterThanOrEqual(steps - last);
      expect(j).toBeLessThan(steps - 1);
    }
  });
});
