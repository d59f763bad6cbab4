import fc from 'fast-check';
import {
  add,
  concat,
  mean,
  mul,
  pad,
  relu,
  reshape,
  reverse,
  slice,
  softmax,
  stack,
  sum,
  tensor,
  tile,
  transpose,
  type Tensor,
} from '@tensorflow/tfjs-core';
import { beforeAll, expect, it } from 'vitest';
import { useBackend } from '../../../backend.js';
import { random } from '../../../random.js';
import type { ModelFunction } from '../../../vjp.js';
import { TfjsEngine } from '../../tfjs.js';
import { OnnxRuntimeEngine } from '../engine.js';
import { nodesOf, type Value } from '../graph/graph.js';
import { isPlain, ordered, plain, plainView, reshapedView, transposed, viewOf, type View } from './view.js';
import { elementCount } from '../../../params.js';

beforeAll(() => useBackend('cpu'));

/** A step of a random function. The numbers are taken modulo whatever the tensor's shape allows. */
type Step = { readonly kind: (typeof kinds)[number]; readonly a: number; readonly b: number };
const kinds = [
  'transpose',
  'reshape',
  'slice',
  'concat',
  'addRow',
  'mulTransposed',
  'relu',
  'sum',
  'reverse',
  'softmax',
  'stack',
  'tile',
  'pad',
  'square',
] as const;

const steps = fc.array(fc.record({ kind: fc.constantFrom(...kinds), a: fc.nat(1000), b: fc.nat(1000) }), {
  minLength: 1,
  maxLength: 8,
});
const shapes = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 5 });

it('any chain of transposes, reshapes and elementwise ops gives the same values as tfjs', async () => {
  await fc.assert(
    fc.asyncProperty(shapes, steps, async (shape, chain) => {
      const fn = ((_, x: Tensor) => chain.reduce(apply, x)) as ModelFunction;
      const x = tensor(
        random(5)
          .randn(Math.max(16, elementCount(shape)))
          .slice(0, elementCount(shape)),
        shape,
      );
      const [engine, eager] = [new OnnxRuntimeEngine({ threads: 1 }), new TfjsEngine()];
      const [recorded, expected] = [
        await engine.compileVjp(fn, { wrt: [0] })({}, [x]),
        await eager.compileVjp(fn, { wrt: [0] })({}, [x]),
      ];
      expectSame(recorded.value, expected.value);
      expectSame(recorded.inputs[0]!, expected.inputs[0]!);
      engine.dispose();
    }),
    { numRuns: 120, seed: 1 },
  );
});

function expectSame(actual: Tensor, expected: Tensor): void {
  expect(actual.shape).toEqual(expected.shape);
  const [values, others] = [actual, expected].map((x) => Array.from(x.dataSync())) as [number[], number[]];
  const largest = others.reduce((most, x) => Math.max(most, Math.abs(x)), 1);
  expect(others.filter((x, i) => !(Math.abs(x - values[i]!) <= 1e-5 * largest))).toEqual([]);
}

function apply(x: Tensor, { kind, a, b }: Step): Tensor {
  const axis = x.rank === 0 ? 0 : a % x.rank;
  if (x.size > 600 && ['concat', 'stack', 'tile', 'pad'].includes(kind)) return x;
  if (x.rank === 0) return mul(x, 1.5);
  const steps: Record<Step['kind'], () => Tensor> = {
    transpose: () => transpose(x, permutation(x.rank, a)),
    reshape: () => reshape(x, factors(x.size, a, b)),
    slice: () =>
      slice(
        x,
        x.shape.map((n, i) => (i === axis ? b % n : 0)),
        x.shape.map((n, i) => (i === axis ? 1 + ((a + b) % (n - (b % n))) : n)),
      ),
    concat: () =>
      concat(
        [
          x,
          transpose(
            reshape(x, x.shape),
            x.shape.map((_, i) => i),
          ),
          mul(x, 2),
        ],
        axis,
      ),
    addRow: () => add(x, reshape(slice(reshape(x, [-1]), [0], [x.shape.at(-1)!]), [x.shape.at(-1)!])),
    mulTransposed: () =>
      mul(x, transpose(reverse(transpose(x, permutation(x.rank, a)), axis), inverse(permutation(x.rank, a)))),
    relu: () => relu(x),
    sum: () => (x.rank > 1 ? sum(x, axis, b % 2 === 0) : x),
    reverse: () => reverse(x, axis),
    softmax: () => softmax(x),
    stack: () => (x.rank < 5 ? stack([x, mean(x, axis, true).shape.length ? relu(x) : x], a % (x.rank + 1)) : x),
    tile: () =>
      tile(
        x,
        x.shape.map((_, i) => (i === axis ? 2 : 1)),
      ),
    pad: () =>
      pad(
        x,
        x.shape.map((_, i) => (i === axis ? [1, b % 2] : [0, 0]) as [number, number]),
      ),
    square: () => mul(x, x),
  };
  return steps[kind]();
}

function permutation(rank: number, seed: number): number[] {
  const axes = Array.from({ length: rank }, (_, i) => i);
  return Array.from({ length: rank }, (_, i) => axes.splice((seed >> i) % axes.length, 1)[0]!);
}
const inverse = (perm: number[]) => perm.map((_, axis) => perm.indexOf(axis));

/** A shape of the same size, some of its axes 1. */
function factors(size: number, a: number, b: number): number[] {
  const shape: number[] = [];
  let rest = size;
  for (let divisor = 2; rest > 1;) {
    if (rest % divisor) {
      divisor++;
      continue;
    }
    rest /= divisor;
    if (shape.length > 0 && (shape.length >= 4 || (a >> shape.length) % 2)) shape[shape.length - 1]! *= divisor;
    else shape.push(divisor);
  }
  if (shape.length < 5) shape.splice(b % (shape.length + 1), 0, 1);
  return b % 3 ? shape : shape.reverse();
}

const input = (shape: number[]): Value => ({ shape, dtype: 'float32', source: { kind: 'input', name: 'x' } });
const transposes = (value: Value) => nodesOf([value]).filter(({ op }) => op === 'Transpose').length;
const image = () => viewOf(input([2, 6, 4, 5]), [0, 3, 1, 2]); // stored with channels first; the tensor is [2, 4, 5, 6]

it('transposing relabels axes and adds no node', () => {
  const view = transposed(transposed(plainView(input([2, 3, 4])), [2, 0, 1]), [1, 2, 0]);
  expect(view.shape).toEqual([2, 3, 4]);
  expect(isPlain(view)).toBe(true);
  expect(transposes(plain(view))).toBe(0);
});

it('moving axes of size 1 adds no transpose', () => {
  expect(transposes(plain(transposed(plainView(input([1, 3, 1, 4])), [1, 2, 0, 3])))).toBe(0);
  expect(transposes(plain(transposed(plainView(input([1, 3, 2])), [2, 1, 0])))).toBe(1);
});

it.each<[string, View, number[], number]>([
  [
    'merging pixels into a row and splitting them again',
    reshapedView(reshapedView(image(), [2, 20, 6]), [2, 4, 5, 6]),
    [0, 3, 1, 2],
    0,
  ],
  ['splitting channels into groups', reshapedView(image(), [2, 4, 5, 3, 2]), [0, 3, 4, 1, 2], 0],
  ['adding an axis of size 1', reshapedView(image(), [2, 4, 1, 5, 6]), [0, 4, 1, 2, 3], 0],
])('a reshape keeps the storage order: %s', (_, view, order, count) => {
  expect(transposes(ordered(view, order))).toBe(count);
});

it('a reshape that merges axes stored apart transposes first', () => {
  const view = reshapedView(image(), [2, 4, 30]);
  expect(isPlain(view)).toBe(true);
  expect(transposes(view.value)).toBe(1);
});
