import { readdir, readFile } from 'node:fs/promises';
import * as tf from '@tensorflow/tfjs-core';
import {
  engine,
  getBackend,
  getGradient,
  getKernelsForBackend,
  reshape,
  slice,
  tensor,
  tidy,
  transpose,
  type DataType,
  type Tensor,
} from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { useBackend } from '../../../backend.js';
import { random } from '../../../random.js';
import { checkGradient } from '../../../testing/index.js';
import type { ModelFunction } from '../../../vjp.js';
import type { Engine } from '../../engine.js';
import { TfjsEngine } from '../../tfjs.js';
import { elementCases } from '../__fixtures__/element-cases.js';
import type { CaseInput, KernelCase } from '../__fixtures__/kernel-case.js';
import { networkCases } from '../__fixtures__/network-cases.js';
import { tensorCases } from '../__fixtures__/tensor-cases.js';
import { OnnxRuntimeEngine } from '../engine.js';
import { notRecordable } from '../recorder/not-recordable.js';
import { recordFunction, type Spec } from './record-function.js';
import { isRecordable, RecordingError, recorderName } from '../recorder/recorder.js';
import { elementCount } from '../../../params.js';

const backends = ['wasm', 'cpu'] as const;
/** Every op of tfjs and of this package, with odd shapes, batches and axes of length 1. */
const kernelCases = [...elementCases, ...tensorCases, ...networkCases];

describe('a recorded kernel', () => {
  const tfjs = new TfjsEngine();
  const onnxruntime = new OnnxRuntimeEngine({ threads: 1 });
  const rounding = new OnnxRuntimeEngine({ threads: 1, precision: 'float16' });
  afterAll(() => [onnxruntime, rounding].forEach((engine) => engine.dispose()));

  it.each(networkCases)('agrees with float32 when products are in float16: $name', async (kernelCase) => {
    const { fn, wrt, make } = prepared(kernelCase, order);
    await useBackend('cpu');
    compare(await run(rounding, fn, make(), wrt), await run(onnxruntime, fn, make(), wrt), 1e-2, 'float32', 0.1);
  });

  it.each(kernelCases)('agrees with tfjs in values and gradients: $name', async (kernelCase) => {
    for (const layout of layouts) {
      const { fn, wrt, make } = prepared(kernelCase, layout);
      const eager = prepared({ ...kernelCase, op: kernelCase.eager ?? kernelCase.op }, layout).fn;
      const results: [string, Result[]][] = [];
      for (const backend of backends.filter((name) => !kernelCase.without?.includes(name))) {
        await useBackend(backend);
        results.push([backend, await run(tfjs, eager, make(), wrt)]);
        if (layout === layouts[0] && backend === 'cpu' && wrt.length > 0) checkDifferences(kernelCase, make(), wrt);
      }
      const recorded = await run(onnxruntime, fn, make(), wrt);
      for (const [backend, expected] of results)
        compare(recorded, expected, kernelCase.tolerance ?? 2e-5, `${backend}, layout ${layouts.indexOf(layout)}`);
    }
  });
});

describe('the list of cases', () => {
  /** Names of the kernels that run while the cases and their gradients are recorded. */
  const ran = new Set<string>();

  beforeAll(() => {
    const runKernel = vi.spyOn(engine(), 'runKernel');
    for (const kernelCase of kernelCases) {
      const { fn, wrt } = prepared(kernelCase, order);
      const specs = kernelCase.inputs.map(({ shape, dtype }): Spec => ({ shape, dtype: dtype ?? 'float32' }));
      const [value] = recordFunction(fn, {}, specs).outputs.values;
      if (wrt.length > 0) recordFunction(fn, {}, specs, { wrt, dy: { shape: value!.shape, dtype: 'float32' } });
    }
    runKernel.mock.calls.forEach(([name]) => ran.add(name));
    runKernel.mockRestore();
  });

  it('covers every kernel of tfjs that is not refused for a reason', () => {
    const names = Object.entries(tf)
      .filter(([key, value]) => /^_?[A-Z]/.test(key) && key !== 'OP_SCOPE_SUFFIX' && typeof value === 'string')
      .map(([, value]) => value as unknown as string);
    expect(names.length).toBeGreaterThan(150);
    expect(names.filter((name) => !ran.has(name) && !notRecordable.has(name))).toEqual([]);
    expect(names.filter((name) => notRecordable.has(name) && isRecordable(name))).toEqual([]);
    expect([...notRecordable].filter((name) => !names.includes(name))).toEqual([]);
  });

  it('covers every kernel that has a gradient', () => {
    const names = Object.values(tf).filter(
      (value): value is any => typeof value === 'string' && getGradient(value) !== undefined,
    ) as unknown as string[];
    expect(names.length).toBeGreaterThan(90);
    expect(names.filter((name) => !ran.has(name) && !notRecordable.has(name))).toEqual([]);
  });

  it('covers every kernel that has an emitter', () => {
    const names = getKernelsForBackend(recorderName).map(({ kernelName }) => kernelName);
    expect(names.filter((name) => !ran.has(name))).toEqual([]);
  });

  it('covers every op that this package defines', async () => {
    const names = await definedOps();
    expect(names.length).toBeGreaterThan(10);
    expect(names.filter((name) => !ran.has(name))).toEqual([]);
  });
});

/** Names of the ops that this package defines. */
async function definedOps(): Promise<string[]> {
  const folder = new URL('../../../', import.meta.url);
  const files = (await readdir(folder, { recursive: true })).filter(
    (file) => file.endsWith('.ts') && !file.endsWith('.test.ts'),
  );
  const texts = await Promise.all(files.map((file) => readFile(new URL(file.replaceAll('\\', '/'), folder), 'utf8')));
  return texts.flatMap((text) => [...text.matchAll(/= defineOp<[^\n]*\(\{\s*name: '(\w+)'/g)].map(([, name]) => name!));
}

describe('a function that cannot be recorded', () => {
  const x: Spec = { shape: [4, 4], dtype: 'float32' };
  const refused = (op: (x: any) => Tensor, spec: Spec = x) => {
    function myReward(_: unknown, input: Tensor) {
      return op(input);
    }
    return expect(() => recordFunction(myReward as ModelFunction, {}, [spec]));
  };

  it.each<[string, (x: any) => Tensor, RegExp]>([
    [
      'a shape that depends on values',
      (y) => tf.unique(reshape(y, [-1])).values,
      new RegExp(
        "'myReward' cannot be recorded: it uses the kernel 'Unique', whose result has a shape that depends on values" +
          '\\. Keep all entries.*tfjs engine',
      ),
    ],
    [
      'boxes selected by score',
      (y) => tf.image.nonMaxSuppression(y, slice(reshape(y, [-1]), [0], [4]) as never, 2),
      /'NonMaxSuppressionV3', whose/,
    ],
    ['random classes', (y) => tf.multinomial(y, 2, 3), /'Multinomial', which draws random numbers/],
    ['complex numbers', (y) => tf.abs(tf.complex(y, y)), /'Complex', which works on complex numbers/],
    [
      'an unknown kernel',
      (y) => engine().runKernel('Strange', { y }) as Tensor,
      /'Strange', which cannot be recorded\. Write it with other tfjs ops, or run it on the tfjs engine/,
    ],
    [
      'reading values',
      (y) => tf.mul(y, y.dataSync()[0] as number),
      /'myReward' cannot be recorded: a tensor's values are read/,
    ],
    [
      'random noise',
      (y) => tf.add(y, tf.randomNormal([4, 4])),
      /'myReward' cannot be recorded: it draws random numbers/,
    ],
    ['dropout', (y) => tf.dropout(y, 0.5), /it draws random numbers/],
  ])('throws a RecordingError that says why: %s', (_, op, message) => {
    const { random } = Math;
    refused(op).toThrow(RecordingError);
    refused(op).toThrow(message);
    expect(Math.random).toBe(random);
    expect(getBackend()).not.toBe(recorderName);
  });
});

type Layout = (rank: number, input: number) => number[];
const order = (rank: number) => Array.from({ length: rank }, (_, i) => i);
/** Storage orders of the inputs' axes: their own, reversed, and with the last axis of the first input in front. */
const layouts: Layout[] = [
  order,
  (rank) => order(rank).reverse(),
  (rank, input) => (input === 0 ? [...order(rank).slice(-1), ...order(rank).slice(0, -1)] : order(rank)),
];

/** Makes a case a function of inputs with transposed axes, which it transposes back first. */
function prepared({ op, inputs, wrt }: KernelCase, layout: Layout) {
  const perms = inputs.map(({ shape }, i) => layout(shape.length, i));
  const back = perms.map((perm) => perm.map((_, axis) => perm.indexOf(axis)));
  return {
    fn: ((_: unknown, ...xs: Tensor[]) =>
      op(...xs.map((x, i) => (layout === order ? x : transpose(x, back[i]))))) as ModelFunction,
    wrt: wrt ?? inputs.flatMap(({ dtype }, i) => (dtype ? [] : [i])),
    make: () =>
      inputs.map((input, i) =>
        tidy(() => transpose(tensor(valuesOf(input, i), [...input.shape], input.dtype), perms[i])),
      ),
  };
}

const ranges = { positive: [0.3, 2], unit: [-0.9, 0.9], above: [1.1, 3] } as const satisfies Record<
  string,
  readonly [number, number]
>;

function valuesOf({ shape, values, dtype }: CaseInput, seed: number): Float32Array {
  const size = elementCount(shape);
  if (typeof values === 'object') return Float32Array.from(values);
  if (values === 'special')
    return Float32Array.from({ length: size }, (_, i) => [1, NaN, Infinity, -Infinity, 0, -2][i]!);
  const normal = random(seed + 11)
    .randn(Math.max(16, size))
    .slice(0, size);
  const between = ([low, high]: readonly [number, number]) =>
    normal.map((x) => low + (high - low) / (1 + Math.exp(-x)));
  if (dtype === 'bool') return normal.map((x) => Number(x > 0));
  if (dtype === 'int32') return normal.map((x) => Math.round(x * 4));
  return values ? between(ranges[values]) : normal;
}

interface Result {
  /** Says which output or gradient it is. */
  readonly what: string;
  readonly shape: readonly number[];
  readonly dtype: DataType;
  readonly values: ArrayLike<number>;
}

/** Runs the function and, if `wrt` is not empty, its compiled gradient. Frees the inputs. */
async function run(engine: Engine, fn: ModelFunction, inputs: Tensor[], wrt: readonly number[]): Promise<Result[]> {
  const outputs = await engine.compile(fn)({}, ...inputs);
  const named: [string, Tensor][] = outputs.map((tensor, i) => [`output ${i}`, tensor]);
  if (wrt.length > 0) {
    const [{ shape, size }] = outputs as [Tensor];
    const dy = tensor(random(97).randn(Math.max(16, size)).slice(0, size), shape);
    const { value, aux, inputs: gradients } = await engine.compileVjp(fn, { wrt })({}, inputs, dy);
    named.push(
      ['value', value],
      ...aux.map((tensor, i): [string, Tensor] => [`aux ${i}`, tensor]),
      ...gradients.map((tensor, i): [string, Tensor] => [`gradient of input ${wrt[i]}`, tensor]),
      ['', dy],
    );
  }
  const results = named
    .filter(([what]) => what)
    .map(([what, tensor]) => ({ what, shape: tensor.shape, dtype: tensor.dtype, values: tensor.dataSync().slice() }));
  [...inputs, ...named.map(([, tensor]) => tensor)].forEach((tensor) => tensor.dispose());
  return results;
}

function compare(
  recorded: readonly Result[],
  expected: readonly Result[],
  tolerance: number,
  where: string,
  smallest = 1e-6,
): void {
  expect(
    recorded.map(({ what, shape, dtype }) => ({ what, shape, dtype })),
    where,
  ).toEqual(expected.map(({ what, shape, dtype }) => ({ what, shape, dtype })));
  expected.forEach(({ what, values }, at) => {
    const largest = Array.from(values).reduce(
      (most, x) => (Number.isFinite(x) ? Math.max(most, Math.abs(x)) : most),
      0,
    );
    const allowed = tolerance * Math.max(largest, smallest);
    const worst = Array.from(values).findIndex(
      (x, i) => !(Object.is(x, recorded[at]!.values[i]) || Math.abs(x - recorded[at]!.values[i]!) <= allowed),
    );
    expect(
      worst < 0
        ? ''
        : `${what}, entry ${worst}: ${recorded[at]!.values[worst]}, on ${where} ${values[worst]}, allowed ${allowed}`,
    ).toBe('');
  });
}

/** Checks the eager op, which is the reference, against finite differences. */
function checkDifferences({ op, step = 1e-2 }: KernelCase, inputs: Tensor[], wrt: readonly number[]): void {
  const first = (...xs: Tensor[]) => [op(...xs)].flat()[0] as Tensor;
  const varied = wrt.map((index) => inputs[index]!);
  if (varied.some(({ size }) => size === 0)) return;
  checkGradient((...xs) => first(...inputs.map((x, i) => (wrt.includes(i) ? xs[wrt.indexOf(i)]! : x))), varied, {
    step,
    tolerance: 1e-2,
    scale: 1e-1,
  });
  inputs.forEach((x) => x.dispose());
}
