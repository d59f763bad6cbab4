import {
  argMax,
  cast,
  greater,
  mean,
  mul,
  round,
  scalar,
  sign,
  tensor1d,
  where,
  zerosLike,
  type Tensor,
  type Tensor1D,
} from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { OnnxRuntimeEngine } from './engine/onnxruntime/engine.js';
import { TfjsEngine } from './engine/tfjs.js';
import { useBackend } from './backend.js';
import { isDifferentiable } from './differentiable.js';

const functions: readonly (readonly [name: string, fn: (x: Tensor) => Tensor, passes: boolean])[] = [
  ['a mean', (x) => mean(x), true],
  ['a product with zero', (x) => mul(mean(x), 0), true],
  ['the input itself', (x) => x, true],
  ['a selection of values', (x) => where(greater(x, 0), x, zerosLike(x)), true],
  ['a constant', () => tensor1d([1]), false],
  ['rounding', (x) => mean(round(x)), false],
  ['signs', (x) => sign(x), false],
  ['a comparison', (x) => mul(cast(greater(x, 0), 'float32'), 2), false],
  ['a choice between constants', (x) => where(greater(x, 0), tensor1d([1, 1]), tensor1d([0, 0])), false],
  ['the index of the largest', (x) => cast(argMax(x as Tensor1D), 'float32'), false],
];

describe.each([
  ['tfjs', () => new TfjsEngine()],
  ['ONNX Runtime', () => new OnnxRuntimeEngine()],
] as const)('isDifferentiable on %s', (_, engineOf) => {
  beforeAll(() => useBackend('cpu'));

  it.each(functions)('tells whether %s passes a gradient', async (_name, fn, passes) => {
    const engine = engineOf();
    let answer: boolean | undefined;
    const run = engine.compileVjp(
      (_params, x) => {
        const y = fn(x!);
        answer = isDifferentiable(y, x!);
        return mean(mul(x!, 1));
      },
      { wrt: [0] },
    );
    await run({}, [tensor1d([0.2, -0.4])], scalar(1));
    expect(answer).toBe(passes);
    engine.dispose();
  });

  it('throws outside of a gradient', () => {
    expect(() => isDifferentiable(tensor1d([1]), tensor1d([1]))).toThrow('called outside of a gradient');
  });
});
