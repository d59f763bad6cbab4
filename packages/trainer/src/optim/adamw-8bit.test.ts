import { dispose, memory, tensor, variable, type Variable } from '@tensorflow/tfjs-core';
import { random, useBackend, type StoredTensor } from '@alignprop/autograd-ext';
import type { RawTensor } from '@alignprop/autograd-ext/weights';
import { beforeAll, describe, expect, it } from 'vitest';
import golden from '../__fixtures__/adamw-8bit.json' with { type: 'json' };
import { AdamW } from './adamw.js';
import { AdamW8bit } from './adamw-8bit.js';
import { dynamicMap, NearestCode } from './dynamic-map.js';
import { quantizedMoment } from './moment.js';

const stored = (entries: Record<string, RawTensor>): Record<string, StoredTensor> =>
  Object.fromEntries(
    Object.entries(entries).map(([name, { dtype, shape, data }]) => [
      name,
      { dtype, shape, read: async () => Float32Array.from(data) },
    ]),
  );

describe('the dynamic data type', () => {
  it.each([
    ['signed', true],
    ['unsigned', false],
  ] as const)("%s has bitsandbytes' 256 values, to the bit", (name, signed) => {
    expect([...dynamicMap(signed)]).toEqual([...Float32Array.from(golden[name])]);
  });

  it.each([true, false])('finds the nearest value, signed %s', (signed) => {
    const map = dynamicMap(signed);
    const nearest = new NearestCode(map);
    const codeOf = (...numbers: number[]) => {
      const codes = new Uint8Array(numbers.length);
      nearest.encode(Float32Array.from(numbers), codes, 0);
      return codes;
    };
    expect(codeOf(...map)).toEqual(Uint8Array.from(map, (_, code) => code));
    const draws = random(1).rand(4000);
    for (let i = 0; i < draws.length; i += 2) {
      const x = Math.fround((signed && draws[i]! < 0.5 ? -1 : 1) * 10 ** (-8 * draws[i + 1]!));
      const best = map.reduce(
        (found, value, code) => (Math.abs(value - x) < Math.abs(map[found]! - x) ? code : found),
        0,
      );
      expect(codeOf(x)[0], `${x}`).toBe(best);
    }
  });

  it('stores each block of 256 within a fraction of its largest magnitude, and zeros exactly', () => {
    const scales = [1e-9, 1, 0];
    const values = random(2)
      .rand(700)
      .map((x, i) => (2 * x - 1) * scales[Math.floor(i / 256)]!);
    const moment = quantizedMoment([700], 'signed');
    scales.forEach((scale, block) => {
      const from = values.slice(256 * block, 256 * (block + 1));
      const back = new Float32Array(from.length);
      moment.store(256 * block, from);
      moment.load(256 * block, back);
      // Neighbours are 0.9/64 apart in the uppermost decade.
      back.forEach((x, i) =>
        expect(Math.abs(x - from[i]!), `${from[i]}`).toBeLessThanOrEqual((0.9 / 64 / 2) * scale * 1.001),
      );
    });
  });

  it('never rounds a second moment above 0 to 0, so that no step divides by epsilon alone', () => {
    const moment = quantizedMoment([3], 'positive');
    const back = new Float32Array(3);
    moment.store(0, Float32Array.of(1, 1e-12, 0));
    moment.load(0, back);
    expect([...back]).toEqual([1, dynamicMap(false)[1], 0]);
  });
});

describe.each(['wasm', 'cpu'] as const)('AdamW8bit on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it("takes bitsandbytes' steps: the same codes, scales and parameters", () => {
    const variables = { p: variable(tensor(golden.start)) };
    const optimizer = new AdamW8bit(variables, { ...golden.options, minQuantizedSize: 1 });
    for (const { gradients, parameters, state1, state2, absmax1, absmax2 } of golden.steps) {
      const g = { p: tensor(gradients) };
      optimizer.step(g);
      dispose(g);
      const state = optimizer.save();
      variables.p
        .dataSync()
        .forEach((x, i) =>
          expect(Math.abs(x - parameters[i]!), `p[${i}]`).toBeLessThanOrEqual(
            1e-6 * Math.max(1, Math.abs(parameters[i]!)),
          ),
        );
      expect([...state['state1.p']!.data]).toEqual(state1);
      expect([...state['state2.p']!.data]).toEqual(state2);
      for (const [name, scales] of [
        ['absmax1', absmax1],
        ['absmax2', absmax2],
      ] as const) {
        state[`${name}.p`]!.data.forEach((x, i) => expect(Math.abs(x / scales[i]! - 1)).toBeLessThan(1e-6));
      }
    }
    dispose(variables);
  });

  it('stays close to AdamW in float32 with a quarter of its state', () => {
    const start = random(5).randn(8192);
    const make = (): { w: Variable } => ({ w: variable(tensor(start, [64, 128])) });
    const [exact, eight] = [make(), make()];
    const options = { learningRate: 1e-2, weightDecay: 1e-4 };
    const [reference, optimizer] = [new AdamW(exact, options), new AdamW8bit(eight, options)];
    const target = random(7).randn(8192);
    for (let step = 0; step < 30; step++) {
      for (const [variables, own] of [
        [exact, reference],
        [eight, optimizer],
      ] as const) {
        const draws = random(100 + step).randn(8192);
        const g = {
          w: tensor(
            variables.w.dataSync().map((x, i) => x - target[i]! + 0.1 * draws[i]!),
            [64, 128],
          ),
        };
        own.step(g);
        dispose(g);
      }
    }
    const [a, b] = [exact.w.dataSync(), eight.w.dataSync()];
    const norm = (values: ArrayLike<number>) => Math.sqrt(Array.from(values).reduce((sum, x) => sum + x * x, 0));
    const moved = norm(a.map((x, i) => x - start[i]!));
    expect(norm(a.map((x, i) => x - b[i]!)) / moved).toBeLessThan(0.03);
    expect(reference.bytes).toBe(8192 * 8);
    expect(optimizer.bytes / reference.bytes).toBeGreaterThan(0.25);
    expect(optimizer.bytes / reference.bytes).toBeLessThan(0.255);
    reference.dispose();
    dispose([exact, eight]);
  });

  it('equals AdamW for parameters below 4,096 elements', () => {
    const make = (): { w: Variable } => ({ w: variable(tensor(random(1).randn(300))) });
    const [exact, eight] = [make(), make()];
    const [reference, optimizer] = [new AdamW(exact), new AdamW8bit(eight)];
    for (let step = 0; step < 3; step++) {
      const g = { w: tensor(random(step).randn(300)) };
      reference.step(g);
      optimizer.step(g, 1e-3);
      dispose(g);
    }
    const expected = exact.w.dataSync();
    eight.w.dataSync().forEach((x, i) => expect(Math.abs(x - expected[i]!)).toBeLessThan(1e-6));
    reference.dispose();
    dispose([exact, eight]);
  });

  it('resumes bit for bit from its saved state, and leaks nothing', async () => {
    const before = memory().numTensors;
    const start = random(3).randn(5000);
    const make = (): Record<string, Variable> => ({
      big: variable(tensor(start)),
      small: variable(tensor(start.slice(0, 10))),
    });
    const gradients = (step: number) => ({
      big: tensor(random(step).randn(5000)),
      small: tensor(random(50 + step).randn(10)),
    });
    const [one, two] = [make(), make()];
    const [straight, first] = [new AdamW8bit(one), new AdamW8bit(two)];
    const advance = (optimizer: AdamW8bit, step: number) => {
      const g = gradients(step);
      optimizer.step(g);
      dispose(g);
    };
    for (let step = 0; step < 4; step++) advance(straight, step);
    for (let step = 0; step < 2; step++) advance(first, step);
    const second = new AdamW8bit(two);
    await second.load(first.steps, stored(first.save()));
    for (let step = 2; step < 4; step++) advance(second, step);
    expect(second.steps).toBe(4);
    for (const name of ['big', 'small']) expect(two[name]!.dataSync()).toEqual(one[name]!.dataSync());
    expect(Object.keys(second.save()).sort()).toEqual([
      'absmax1.big',
      'absmax2.big',
      'state1.big',
      'state1.small',
      'state2.big',
      'state2.small',
    ]);
    dispose([one, two]);
    // tfjs creates tensors for `variable(tensor(…))` that the test owns: four of them.
    expect(memory().numTensors - before).toBe(4);
  });
});
