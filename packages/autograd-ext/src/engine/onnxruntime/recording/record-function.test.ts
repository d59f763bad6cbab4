import {
  add,
  dispose,
  engine as tfjs,
  gather as gatherRows,
  matMul,
  mul,
  scalar,
  square,
  sum,
  tensor,
  tensor1d,
  variable,
  type Tensor,
  type Tensor3D,
} from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../../../backend.js';
import { linear, random, scaledDotProductAttention, type Params } from '../../../index.js';
import { type StoredTensor, elementCount } from '../../../params.js';
import type { ModelFunction } from '../../../vjp.js';
import { TfjsEngine } from '../../tfjs.js';
import { OnnxRuntimeEngine } from '../engine.js';
import { nodesOf } from '../graph/graph.js';
import { recordFunction } from './record-function.js';

const normal = (shape: number[], seed: number) =>
  tensor(
    random(seed)
      .randn(Math.max(16, elementCount(shape)))
      .slice(0, elementCount(shape)),
    shape,
  );
const stored = (values: Float32Array | Int32Array, shape: number[], dtype: string): StoredTensor =>
  ({ shape, dtype, read: () => Promise.resolve(values) }) as StoredTensor;
const close = (actual: Tensor, expected: Tensor, tolerance = 1e-5) => {
  expect([actual.dtype, ...actual.shape]).toEqual([expected.dtype, ...expected.shape]);
  const [values, others] = [actual, expected].map((x) => Array.from(x.dataSync())) as [number[], number[]];
  const allowed = tolerance * others.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-3);
  expect(others.filter((x, i) => !(Math.abs(x - values[i]!) <= allowed))).toEqual([]);
};

describe('a recorded function', () => {
  const [engine, eager] = [new OnnxRuntimeEngine(), new TfjsEngine()];
  beforeAll(() => useBackend('wasm'));
  afterAll(() => {
    engine.dispose();
    eager.dispose();
  });

  it('reads weights from memory and files and differentiates with respect to inputs and trainable leaves', async () => {
    const params = {
      frozen: normal([4, 3], 1),
      stored: stored(random(2).randn(20).slice(0, 20), [5, 4], 'F32'),
      ids: stored(Int32Array.of(2, 0, 2), [3], 'I32'),
      trained: variable(normal([3, 5], 3)),
      unused: variable(tensor1d([1, 2])),
    } as unknown as Params;
    const fn = ((p: any, x: Tensor) => [
      add(matMul(gatherRows(p.trained, p.ids), linear(linear(x, p.frozen), p.stored), false, true), 1),
      square(x),
    ]) as unknown as ModelFunction;
    const [x, dy] = [normal([2, 3], 4), normal([3, 2], 5)];
    const [actual, expected] = [
      await engine.compileVjp(fn, { wrt: [0] })(params, [x], dy),
      await eager.compileVjp(fn, { wrt: [0] })(params, [x], dy),
    ];
    [actual.value, ...actual.aux, ...actual.inputs].forEach((tensor, i) =>
      close(tensor, [expected.value, ...expected.aux, ...expected.inputs][i]!),
    );
    expect(Object.keys(actual.params)).toEqual(['trained', 'unused']);
    Object.entries(expected.params).forEach(([path, tensor]) => close(actual.params[path]!, tensor));
  });

  it('follows changes of trainable leaves and of shapes', async () => {
    const scale = variable(scalar(2));
    const run = engine.compile((p, x) => mul(x!, (p as { scale: Tensor }).scale));
    const values = async (x: Tensor) => [...(await run({ scale }, x))[0]!.dataSync()];
    expect(await values(tensor1d([1, 2]))).toEqual([2, 4]);
    scale.assign(scalar(-1));
    expect(await values(tensor1d([1, 2]))).toEqual([-1, -2]);
    expect(await values(tensor1d([3]))).toEqual([-3]);
    scale.dispose();
  });

  it('treats captured tensors as constants', async () => {
    const outside = tensor1d([1, 2, 3]);
    const [y] = await engine.compile((_, x) => mul(x!, outside))({}, tensor1d([2, 2, 2]));
    expect([...y!.dataSync()]).toEqual([2, 4, 6]);
    outside.dispose();
  });

  it('gives each input its own gradient, also if it is unused or passed twice', async () => {
    const fn: ModelFunction = (_, x, y, z) => sum(mul(x!, add(y!, mul(z!, 0).shape.length === 1 ? y! : z!)));
    const x = tensor1d([1, 2]);
    const { inputs } = await engine.compileVjp(fn, { wrt: [0, 1, 2] })({}, [x, x, tensor1d([5, 6])]);
    expect(inputs.map((gradient) => [...gradient.dataSync()])).toEqual([
      [2, 4],
      [2, 4],
      [0, 0],
    ]);
  });

  it('restores the state of tfjs, also after errors', () => {
    const before = engineState();
    expect(() =>
      recordFunction(
        () => {
          throw new Error('mine');
        },
        {},
        [],
      ),
    ).toThrow('mine');
    expect(() =>
      recordFunction((_, x) => mul(x!, Number(x!.dataSync()[0])), {}, [{ shape: [1], dtype: 'float32' }]),
    ).toThrow(/values are read/);
    expect(engineState()).toEqual(before);
  });

  // The gradient recomputes the scores in blocks of queries, in a Scan.
  it.each<[string, number, number]>([
    ['a multiple of the block', 512, 512],
    ['queries that do not fill the last block', 515, 509],
  ])('attends to many tokens: %s', async (_, queries, keys) => {
    const shapes = [
      [8, queries, 32],
      [8, keys, 32],
      [8, keys, 32],
    ];
    const fn: ModelFunction = (_params, q, k, v) =>
      scaledDotProductAttention(q as Tensor3D, k as Tensor3D, v as Tensor3D, { heads: 8 });
    const xs = shapes.map((shape, i) => normal(shape, i + 20));
    const dy = normal([8, queries, 32], 30);
    const recording = recordFunction(
      fn,
      {},
      shapes.map((shape) => ({ shape, dtype: 'float32' })),
      { wrt: [0, 1, 2], dy: { shape: dy.shape, dtype: 'float32' } },
    );
    const largest = Math.max(
      ...nodesOf(recording.graph.outputs).flatMap(({ outputs }) => outputs.map(({ shape }) => elementCount(shape))),
    );
    expect(largest).toBeLessThan(8 * 8 * queries * keys);
    const [actual, expected] = [
      await engine.compileVjp(fn, { wrt: [0, 1, 2] })({}, xs, dy),
      await eager.compileVjp(fn, { wrt: [0, 1, 2] })({}, xs, dy),
    ];
    close(actual.value, expected.value, 1e-4);
    actual.inputs.forEach((gradient, i) => close(gradient, expected.inputs[i]!, 1e-4));
    dispose([...xs, dy]);
  });
});

function engineState() {
  const { backendName, gradientDepth, kernelDepth, scopeStack } = tfjs().state as unknown as {
    backendName: string;
    gradientDepth: number;
    kernelDepth: number;
    scopeStack: unknown[];
  };
  return { backend: tfjs().backendName, backendName, gradientDepth, kernelDepth, scopes: scopeStack.length };
}
