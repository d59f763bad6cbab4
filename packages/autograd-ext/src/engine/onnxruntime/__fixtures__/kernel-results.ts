import { tensor, tidy, transpose, type DataType, type Tensor } from '@tensorflow/tfjs-core';
import { expect } from 'vitest';
import { elementCount } from '../../../params.js';
import { random } from '../../../random.js';
import type { ModelFunction } from '../../../vjp.js';
import type { Engine } from '../../engine.js';
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
  const results = named
    .filter(([what]) => what)
    .map(([what, tensor]) => ({ what, shape: tensor.shape, dtype: tensor.dtype, values: tensor.dataSync().slice() }));
  [...inputs, ...named.map(([, tensor]) => tensor)].forEach((tensor) => tensor.dispose());
  return results;
}

export function compare(
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
