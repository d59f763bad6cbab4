import fc from 'fast-check';
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from './backend.js';
import { random, randn, type TorchGenerator } from './random.js';

type Call = [kind: 'rand' | 'randn', n: number] | [kind: 'randint', low: number, high: number, n: number];
interface Golden {
  randn: { seed: string; n: number; values: number[] }[];
  seeds: { seed: string; randn: number[]; rand: number[]; randint: number[] }[];
  mixed: { seed: string; calls: { call: Call; values: number[] }[] }[];
  wide: { seed: string; low: number; high: number; values: number[] }[];
}
const golden: Golden = JSON.parse(readFileSync(new URL('./__fixtures__/torch-random.json', import.meta.url), 'utf8'));

const draw = (generator: TorchGenerator, [kind, ...args]: Call) =>
  (generator[kind] as (...args: number[]) => ArrayLike<number>)(...args);

function expectNormals(actual: ArrayLike<number>, expected: readonly number[]): void {
  expect(actual.length).toBe(expected.length);
  const worst = Math.max(0, ...expected.map((value, i) => Math.abs(actual[i]! - value)));
  expect(worst).toBeLessThanOrEqual(2.4e-7 * Math.max(1, ...expected.map(Math.abs)));
}

describe('TorchGenerator, compared with torch', () => {
  it.each(golden.randn)('draws randn($n) with seed $seed', ({ seed, n, values }) =>
    expectNormals(random(BigInt(seed)).randn(n), values),
  );

  it.each(golden.seeds)('draws rand, randint and randn with seed $seed', ({ seed, randn, rand, randint }) => {
    expect(random(BigInt(seed)).rand(20)).toEqual(Float32Array.from(rand));
    expect([...random(BigInt(seed)).randint(0, 1000, 20)]).toEqual(randint);
    expectNormals(random(BigInt(seed)).randn(20), randn);
  });

  it.each(golden.mixed)('draws a sequence of mixed calls with seed $seed', ({ seed, calls }) => {
    const generator = random(BigInt(seed));
    for (const { call, values } of calls) {
      const actual = draw(generator, call);
      if (call[0] === 'randn') expectNormals(actual, values);
      else expect([...Float32Array.from(actual)]).toEqual([...Float32Array.from(values)]);
    }
  });

  it.each(golden.wide)('draws randint from $low to $high with seed $seed', ({ seed, low, high, values }) => {
    expect([...random(BigInt(seed)).randint(low, high, values.length)]).toEqual(values);
  });
});

describe('TorchGenerator', () => {
  const calls = fc.array(
    fc.oneof(
      fc.tuple(fc.constantFrom('rand' as const, 'randn' as const), fc.nat(40)),
      fc.tuple(fc.constant('randint' as const), fc.constant(-3), fc.constant(9), fc.nat(20)),
    ),
  );

  it('continues exactly from a state restored from JSON', () => {
    fc.assert(
      fc.property(fc.bigInt(-(2n ** 63n), 2n ** 64n - 1n), calls, calls, (seed, before, after) => {
        const original = random(seed);
        before.forEach((call) => draw(original, call));
        const copy = random(0);
        copy.setState(JSON.parse(JSON.stringify(original.getState())));
        for (const call of after) expect(draw(copy, call)).toEqual(draw(original, call));
        expect(copy.getState()).toEqual(original.getState());
      }),
      { numRuns: 50 },
    );
  });

  it('returns a state that later draws do not change', () => {
    const generator = random(0);
    const state = generator.getState();
    const first = generator.randn(5);
    generator.setState(state);
    expect(generator.randn(5)).toEqual(first);
  });

  it.each([1.5, NaN, Infinity, 2 ** 53, 2n ** 64n, -(2n ** 63n) - 1n])('rejects the seed %s', (seed) => {
    expect(() => random(seed)).toThrow(/^TorchGenerator: seed got .*, expected an integer/);
  });

  it.each([
    [0, 0],
    [1, 0],
    [0.5, 3],
    [0, 2 ** 31 + 1],
    [-(2 ** 31) - 1, 0],
  ])('rejects the range [%d, %d)', (low, high) => {
    expect(() => random(0).randint(low, high, 1)).toThrow(/^TorchGenerator: range got/);
  });

  it.each([
    { engine: [1, 2], nextNormal: null },
    { engine: random(0).getState().engine, nextNormal: NaN },
    { engine: 'x', nextNormal: null },
    {},
  ])('rejects the state %j', (state) => {
    expect(() => random(0).setState(state as never)).toThrow(/^TorchGenerator: (engine )?state got/);
  });
});

describe('randn', () => {
  beforeAll(() => useBackend('cpu'));

  it('fills a tensor in row-major order, scalars and empty ones included', () => {
    const x = randn(random(3), [2, 3, 4]);
    expect(x.shape).toEqual([2, 3, 4]);
    expect(x.dtype).toBe('float32');
    expect(x.dataSync()).toEqual(random(3).randn(24));
    expect(randn(random(3), []).dataSync()).toEqual(random(3).randn(1));
    expect(randn(random(3), [0, 4]).dataSync()).toEqual(new Float32Array(0));
  });
});
