import { reshape, tensor, type Tensor, type Tensor2D, type Tensor4D } from '@tensorflow/tfjs-core';
import { OnnxRuntimeEngine, random, TfjsEngine, useBackend, type ModelFunction } from '@alignprop/autograd-ext';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createScheduler } from './create-scheduler.js';
import { quantile } from './quantile.js';

function normal(shape: number[], seed: number): Tensor {
  const size = shape.reduce((a, b) => a * b);
  return tensor(random(seed).randn(Math.max(16, size)).slice(0, size), shape);
}

const thresholding = createScheduler({
  _class_name: 'DDIMScheduler',
  thresholding: true,
  clip_sample: false,
  sample_max_value: 1.5,
});

describe('values and gradients of recorded scheduler functions', () => {
  const [recording, eager] = [new OnnxRuntimeEngine(), new TfjsEngine()];
  beforeAll(() => useBackend('wasm'));
  afterAll(() => recording.dispose());

  it.each<[string, number[][], (...xs: Tensor[]) => Tensor]>([
    ['quantile between two values', [[3, 7]], (x) => quantile(x as Tensor2D, 0.4)],
    ['quantile at a value', [[2, 5]], (x) => quantile(x as Tensor2D, 0.75)],
    ['quantile of pixels', [[2, 3, 4, 2]], (x) => quantile(reshape(x, [2, -1]), 0.99)],
    [
      'a step with dynamic thresholding',
      [
        [2, 4, 3, 2],
        [2, 4, 3, 2],
      ],
      (output, sample) =>
        thresholding.step(output as Tensor4D, thresholding.timesteps(10)[6]!, sample as Tensor4D, { eta: 0 })
          .prevSample,
    ],
  ])('equal those of the eager engine: %s', async (_, shapes, op) => {
    const xs = shapes.map((shape, i) => normal(shape, i + 1));
    const fn = ((_params, ...inputs) => op(...inputs)) as ModelFunction;
    const wrt = xs.map((_x, i) => i);
    const [actual, expected] = [
      await recording.compileVjp(fn, { wrt })({}, xs),
      await eager.compileVjp(fn, { wrt })({}, xs),
    ];
    for (const [i, tensor] of [expected.value, ...expected.inputs].entries()) {
      const values = Array.from([actual.value, ...actual.inputs][i]!.dataSync());
      Array.from(tensor.dataSync()).forEach((value, at) => expect(values[at]).toBeCloseTo(value, 4));
    }
  });
});
