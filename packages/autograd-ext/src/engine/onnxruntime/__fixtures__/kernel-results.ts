import { tensor, tidy, transpose, type DataType, type Tensor } from '@tensorflow/tfjs-core';
import { useBackend } from '../../../backend.js';
import { elementCount } from '../../../params.js';
import { random } from '../../../random.js';
import type { ModelFunction } from '../../../vjp.js';
import type { Engine } from '../../engine.js';
import { TfjsEngine } from '../../tfjs.js';
import { elementCases } from './element-cases.js';
import type { CaseInput, KernelCase } from './kernel-case.js';
import { networkCases } from './network-cases.js';
import { tensorCases } from './tensor-cases.js';

/** Every op of tfjs and of this package, with odd shapes, batches and axes of length 1. */
export const kernelCases = [...elementCases, ...tensorCases, ...networkCases];

export type Layout = (rank: number, input: number) => number[];
export const order = (rank: number) => Array.from({ length: rank }, (_, i) => i);
/** Storage orders of the inputs' axes: their own, reversed, and with the last axis of the first input in front. */
export const layouts: readonly Layout[] = [
  order,
  (rank) => order(rank).reverse(),
  (rank, input) => (input === 0 ? [...order(rank).slice(-1), ...order(rank).slice(0, -1)] : order(rank)),
];

/** Makes a case a function of inputs with transposed axes, which it transposes back first. */
export function prepared({ op, inputs, wrt }: KernelCase, layout: Layout) {
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

export interface Result {
  /** Says which output or gradient it is. */
  readonly what: string;
  readonly shape: readonly number[];
  readonly dtype: DataType;
  readonly values: ArrayLike<number>;
}

/** Runs the function and, if `wrt` is not empty, its compiled gradient. Frees the inputs. */
export async function run(
  engine: Engine,
  fn: ModelFunction,
  inputs: Tensor[],
  wrt: readonly number[],
): Promise<Result[]> {
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
  const results: Result[] = [];
  for (const [what, result] of named.filter(([what]) => what))
    results.push({ what, shape: result.shape, dtype: result.dtype, values: (await result.data()).slice() });
  [...inputs, ...named.map(([, tensor]) => tensor)].forEach((tensor) => tensor.dispose());
  return results;
}

/**
 * Returns the first difference from expected results in shapes, types or values, '' if there is none.
 * @param tolerance relative to the largest finite value of a result, or to `smallest` if that is larger
 */
export function difference(
  actual: readonly Result[],
  expected: readonly Result[],
  tolerance: number,
  smallest = 1e-6,
): string {
  const kinds = (results: readonly Result[]) =>
    results.map(({ what, shape, dtype }) => `${what} ${dtype} [${shape}]`).join(', ');
  if (kinds(actual) !== kinds(expected)) return `got ${kinds(actual)}, expected ${kinds(expected)}`;
  for (const [at, { what, values }] of expected.entries()) {
    const got = actual[at]!.values;
    const finite = Array.from(values).filter(Number.isFinite);
    const allowed = tolerance * finite.reduce((most, x) => Math.max(most, Math.abs(x)), smallest);
    const isClose = (x: number, i: number) => Object.is(x, got[i]) || Math.abs(x - got[i]!) <= allowed;
    const worst = Array.from(values).findIndex((x, i) => !isClose(x, i));
    if (worst >= 0) return `${what}, entry ${worst}: got ${got[worst]}, expected ${values[worst]} ± ${allowed}`;
  }
  return '';
}

/** An engine to compare with tfjs's backend cpu. */
export interface OtherEngine {
  readonly engine: Engine;
  /** Activates the tfjs backend that it needs. */
  start(): Promise<void>;
}

/**
 * Returns the first difference of an engine from tfjs's backend cpu, or wasm where cpu lacks the op; '' if there is
 * none.
 */
export async function differenceFromCpu(kernelCase: KernelCase, { engine, start }: OtherEngine): Promise<string> {
  const { fn, wrt, make } = prepared({ ...kernelCase, op: kernelCase.eager ?? kernelCase.op }, order);
  await start();
  const actual = await run(engine, fn, make(), wrt);
  await useBackend(kernelCase.without?.includes('cpu') ? 'wasm' : 'cpu');
  const expected = await run(new TfjsEngine(), fn, make(), wrt);
  return difference(actual, expected, kernelCase.tolerance ?? 2e-5, 0.1);
}
