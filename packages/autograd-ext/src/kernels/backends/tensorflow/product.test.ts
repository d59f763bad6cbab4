import { conv2d, matMul, memory, randomNormal, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { hasTensorflow } from '../../../../../../fixtures/engines.js';
import { useBackend } from '../../../backend.js';
import { TfjsEngine } from '../../../engine/tfjs.js';
import type { ModelFunction } from '../../../vjp.js';

const cases: readonly (readonly [name: string, shapes: readonly number[][], fn: ModelFunction])[] = [
  [
    'matMul',
    [
      [33, 65],
      [65, 17],
    ],
    (_, a, b) => matMul(a!, b!),
  ],
  [
    'conv2d',
    [
      [2, 9, 8, 5],
      [3, 3, 5, 6],
    ],
    (_, x, filter) => conv2d(x as Tensor4D, filter as Tensor4D, 1, 'same'),
  ],
];

describe.skipIf(!hasTensorflow)('products in half precision on tensorflow', () => {
  beforeAll(() => useBackend('tensorflow'));

  // The relative error of a factor is 2^-11 in float16 and 2^-8 in bfloat16.
  it.each(cases.flatMap((each) => [[...each, 'float16', 2e-3] as const, [...each, 'bfloat16', 1.6e-2] as const]))(
    'of %s agree with float32 to the precision: %s',
    async (_, shapes, fn, precision, tolerance) => {
      const inputs = shapes.map((shape, i) => randomNormal(shape, 0, 1, 'float32', i + 1));
      const before = memory().numTensors;
      const exact = await results(new TfjsEngine(), fn, inputs);
      const rounded = await results(new TfjsEngine({ precision }), fn, inputs);
      expect(memory().numTensors).toBe(before);
      exact.forEach((values, i) => {
        const largest = Math.max(...values.map(Math.abs));
        const errors = values.map((value, j) => Math.abs(value - rounded[i]![j]!) / largest);
        expect(Math.max(...errors)).toBeLessThan(tolerance);
        expect(Math.max(...errors)).toBeGreaterThan(tolerance / 100); // float32 would be closer
      });
    },
  );

  it('have gradients in float16 that neither underflow nor overflow', async () => {
    const inputs = [randomNormal([4, 8]), randomNormal([8, 4])];
    for (const size of [1e-12, 1e12]) {
      const dy = randomNormal([4, 4], 0, size);
      const fn: ModelFunction = (_, a, b) => matMul(a!, b!);
      const [exact, rounded] = await Promise.all(
        [new TfjsEngine(), new TfjsEngine({ precision: 'float16' })].map((engine) =>
          engine.compileVjp(fn, { wrt: [0] })({}, inputs, dy),
        ),
      );
      const [expected, actual] = [exact!, rounded!].map(({ inputs: [gradient] }) => gradient!.dataSync());
      expected!.forEach((value, i) => expect(Math.abs(value - actual![i]!)).toBeLessThan(0.02 * size));
    }
  });
});

it('half precision is refused on other backends', async () => {
  await useBackend('cpu');
  expect(() => new TfjsEngine({ precision: 'bfloat16' })).toThrow(
    "TfjsEngine: precision got 'bfloat16' on the backend 'cpu', expected 'float32'.",
  );
});

/** The values of a function's output and of the gradients of its inputs. */
async function results(engine: TfjsEngine, fn: ModelFunction, inputs: Tensor[]): Promise<Float32Array[]> {
  const { value, inputs: gradients } = await engine.compileVjp(fn, { wrt: [0, 1] })({}, inputs);
  return [value, ...gradients].map((tensor) => {
    const values = tensor.dataSync<'float32'>().slice();
    tensor.dispose();
    return values;
  });
}
