import { tensor, tidy, transpose, type DataType, type Tensor } from '@tensorflow/tfjs-core';
import { afterAll, describe, expect, it } from 'vitest';
import { useBackend } from '../../backend.js';
import { random } from '../../random.js';
import { checkGradient } from '../../testing/index.js';
import type { ModelFunction } from '../../vjp.js';
import type { Engine } from '../engine.js';
import { TfjsEngine } from '../tfjs.js';
import { kernelCases, type CaseInput, type KernelCase } from './__fixtures__/kernel-cases.js';
import { OnnxRuntimeEngine } from './engine.js';

const backends = ['wasm', 'cpu'] as const;

describe('recorded', () => {
  const tfjs = new TfjsEngine();
  const onnxruntime = new OnnxRuntimeEngine({ threads: 1 });
  afterAll(() => onnxruntime.dispose());

  it.each(kernelCases)('$name', async (kernelCase) => {
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
      for (const [backend, expected] of results) compare(recorded, expected, kernelCase.tolerance ?? 2e-5, `${backend}, layout ${layouts.indexOf(layout)}`);
    }
  });
});

type Layout = (rank: number, input: number) => number[];
const order = (rank: number) => Array.from({ length: rank }, (_, i) => i);
/** How the axes of an input lie: as they are, all backwards, and the last of the first input in front. */
const layouts: Layout[] = [order, (rank) => order(rank).reverse(), (rank, input) => (input === 0 ? [...order(rank).slice(-1), ...order(rank).slice(0, -1)] : order(rank))];

/** A case as a function of inputs that lie in another order, which it transposes back first. */
function prepared({ op, inputs, wrt }: KernelCase, layout: Layout) {
  const perms = inputs.map(({ shape }, i) => layout(shape.length, i));
  const back = perms.map((perm) => perm.map((_, axis) => perm.indexOf(axis)));
  return {
    fn: ((_: unknown, ...xs: Tensor[]) => op(...xs.map((x, i) => (layout === order ? x : transpose(x, back[i]))))) as ModelFunction,
    wrt: wrt ?? inputs.flatMap(({ dtype }, i) => (dtype ? [] : [i])),
    make: () => inputs.map((input, i) => tidy(() => transpose(tensor(valuesOf(input, i), [...input.shape], input.dtype), perms[i]))),
  };
}

function valuesOf({ shape, values, dtype }: CaseInput, seed: number): Float32Array {
  const size = shape.reduce((a, b) => a * b, 1);
  if (typeof values === 'object') return Float32Array.from(values);
  if (values === 'special') return Float32Array.from({ length: size }, (_, i) => [1, NaN, Infinity, -Infinity, 0, -2][i]!);
  const normal = random(seed + 11).randn(Math.max(16, size)).slice(0, size);
  const between = (low: number, high: number) => normal.map((x) => low + (high - low) / (1 + Math.exp(-x)));
  if (dtype === 'bool') return normal.map((x) => Number(x > 0));
  if (dtype === 'int32') return normal.map((x) => Math.round(x * 4));
  return values ? between(...({ positive: [0.3, 2], unit: [-0.9, 0.9], above: [1.1, 3] } as const)[values]) : normal;
}

interface Result {
  readonly what: string;
  readonly shape: readonly number[];
  readonly dtype: DataType;
  readonly values: ArrayLike<number>;
}

/** The outputs and, if asked for, those of the compiled gradient. Frees the inputs. */
async function run(engine: Engine, fn: ModelFunction, inputs: Tensor[], wrt: readonly number[]): Promise<Result[]> {
  const outputs = await engine.compile(fn)({}, ...inputs);
  const named: [string, Tensor][] = outputs.map((tensor, i) => [`output ${i}`, tensor]);
  if (wrt.length > 0) {
    const [{ shape, size }] = outputs as [Tensor];
    const dy = tensor(random(97).randn(Math.max(16, size)).slice(0, size), shape);
    const { value, aux, inputs: gradients } = await engine.compileVjp(fn, { wrt })({}, inputs, dy);
    named.push(['value', value], ...aux.map((tensor, i): [string, Tensor] => [`aux ${i}`, tensor]), ...gradients.map((tensor, i): [string, Tensor] => [`gradient of input ${wrt[i]}`, tensor]), ['', dy]);
  }
  const results = named.filter(([what]) => what).map(([what, tensor]) => ({ what, shape: tensor.shape, dtype: tensor.dtype, values: tensor.dataSync().slice() }));
  [...inputs, ...named.map(([, tensor]) => tensor)].forEach((tensor) => tensor.dispose());
  return results;
}

function compare(recorded: readonly Result[], expected: readonly Result[], tolerance: number, where: string): void {
  expect(recorded.map(({ what, shape, dtype }) => ({ what, shape, dtype })), where).toEqual(expected.map(({ what, shape, dtype }) => ({ what, shape, dtype })));
  expected.forEach(({ what, values }, at) => {
    const largest = Array.from(values).reduce((most, x) => (Number.isFinite(x) ? Math.max(most, Math.abs(x)) : most), 0);
    const allowed = tolerance * Math.max(largest, 1e-6);
    const worst = Array.from(values).findIndex((x, i) => !(Object.is(x, recorded[at]!.values[i]) || Math.abs(x - recorded[at]!.values[i]!) <= allowed));
    expect(worst < 0 ? '' : `${what}, entry ${worst}: ${recorded[at]!.values[worst]}, on ${where} ${values[worst]}, allowed ${allowed}`).toBe('');
  });
}

/** Finite differences of the eager op: what the recording is compared with is right. */
function checkDifferences({ op, step = 1e-2 }: KernelCase, inputs: Tensor[], wrt: readonly number[]): void {
  const first = (...xs: Tensor[]) => [op(...xs)].flat()[0] as Tensor;
  const varied = wrt.map((index) => inputs[index]!);
  if (varied.some(({ size }) => size === 0)) return;
  checkGradient((...xs) => first(...inputs.map((x, i) => (wrt.includes(i) ? xs[wrt.indexOf(i)]! : x))), varied, { step, tolerance: 1e-2, scale: 1e-1 });
  inputs.forEach((x) => x.dispose());
}
