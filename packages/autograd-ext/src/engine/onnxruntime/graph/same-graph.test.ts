import { add, matMul, mul, relu, scalar, tensor1d, tensor2d, type Tensor } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../../../backend.js';
import type { Params } from '../../../params.js';
import { recordFunction } from '../recording/record-function.js';
import { isSameGraph } from './same-graph.js';

const weight = { shape: [2, 2], dtype: 'F32', read: async () => new Float32Array(4) };
const other = { ...weight };
const graphOf = (fn: (x: Tensor, w: Tensor) => Tensor, w = weight) =>
  recordFunction(
    (params: Params, x) => fn(x!, (params as { w: Tensor }).w),
    { w },
    [{ shape: [2, 2], dtype: 'float32' }],
    { wrt: [0], dy: { shape: [2, 2], dtype: 'float32' } },
  ).graph;

describe('isSameGraph', () => {
  beforeAll(() => useBackend('cpu'));

  const captured = tensor2d.bind(undefined, [
    [1, 2],
    [3, 4],
  ]);
  it('is true for two recordings of a function that has not changed', () => {
    const table = captured();
    const fn = (x: Tensor, w: Tensor) => add(relu(matMul(x as never, w as never)), mul(table, 3));
    expect(isSameGraph(graphOf(fn), graphOf(fn))).toBe(true);
    expect(
      isSameGraph(
        graphOf(fn),
        graphOf((x, w) => add(relu(matMul(x as never, w as never)), mul(captured(), 3))),
      ),
    ).toBe(true); // equal numbers in another tensor
  });

  const base = (x: Tensor, w: Tensor) => add(matMul(x as never, w as never), 1);
  it.each<[string, (x: Tensor, w: Tensor) => Tensor]>([
    ['constant', (x, w) => add(matMul(x as never, w as never), 2)],
    ['list of constants', (x, w) => add(matMul(x as never, w as never), tensor1d([1, 2]))],
    ['operator', (x, w) => mul(matMul(x as never, w as never), 1)],
    ['attribute', (x, w) => add(matMul(x as never, w as never, true), 1)],
    ['input of an operator', (x) => add(matMul(x as never, x as never), 1)],
    ['number of operators', (x, w) => add(add(matMul(x as never, w as never), 1), scalar(1))],
  ])('is false if the %s is another', (_, changed) => {
    expect(isSameGraph(graphOf(base), graphOf(changed))).toBe(false);
  });

  it('is false for other weights of the same shape', () => {
    expect(isSameGraph(graphOf(base), graphOf(base, other))).toBe(false);
  });
});
