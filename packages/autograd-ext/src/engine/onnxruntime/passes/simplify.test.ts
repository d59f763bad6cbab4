import {
  add,
  concat,
  div,
  exp,
  maximum,
  mul,
  ones,
  pow,
  relu,
  reshape,
  scalar,
  sub,
  tensor,
  transpose,
  where,
  zeros,
  greater,
  type Tensor,
} from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../../../backend.js';
import type { ModelFunction } from '../../../vjp.js';
import { TfjsEngine } from '../../tfjs.js';
import { OnnxRuntimeEngine } from '../engine.js';
import { constant, node, nodesOf, type Graph, type Value } from '../graph/graph.js';
import { recordFunction } from '../recording/record-function.js';
import { simplify } from './simplify.js';

const input = (name: string, shape: number[], dtype: Value['dtype'] = 'float32'): Value => ({
  shape,
  dtype,
  source: { kind: 'input', name },
});
const ops = (outputs: readonly Value[]) => nodesOf(outputs).map(({ op }) => op);
const simplified = (fn: (...xs: any[]) => Tensor | Tensor[], ...shapes: number[][]) =>
  ops(
    simplify(
      recordFunction(
        ((_: unknown, ...xs: Tensor[]) => fn(...xs)) as ModelFunction,
        {},
        shapes.map((shape) => ({ shape, dtype: 'float32' as const })),
      ).graph.outputs,
    ),
  );

describe('simplify merges equal nodes', () => {
  it('with equal inputs and attributes', () => {
    expect(simplified((x) => [add(exp(x), 1), mul(exp(x), 2)], [2, 3]).sort()).toEqual(['Add', 'Exp', 'Mul']);
    expect(simplified((x) => [transpose(x), transpose(x)], [2, 3])).toEqual(['Transpose']);
  });

  it('that read equal constants or the same weight', () => {
    const leaf = {};
    const weight = (): Value => ({ shape: [3], dtype: 'float32', source: { kind: 'weight', leaf } });
    const x = input('x', [3]);
    const sum = (value: Value) => node('Add', [x, value], [3]);
    expect(ops(simplify([sum(weight()), sum(weight())]))).toEqual(['Add']);
    expect(
      ops(simplify([sum(constant(Float32Array.of(1, 2, 3), [3])), sum(constant(Float32Array.of(1, 2, 3), [3]))])),
    ).toEqual(['Add']);
    expect(
      ops(simplify([sum(constant(Float32Array.of(1, 2, 3), [3])), sum(constant(Float32Array.of(1, 2, 4), [3]))])),
    ).toEqual(['Add', 'Add']);
  });

  it('but not with different attributes, such as infinite or missing ones', () => {
    const x = input('x', [3]);
    const elu = (alpha?: number) =>
      node('Elu', [x], [3], { attributes: alpha === undefined ? {} : { alpha: { float: alpha } } });
    expect(ops(simplify([elu(1), elu(2), elu(Infinity), elu(-Infinity), elu(NaN), elu(), elu(2)]))).toHaveLength(6);
  });

  it('but not with constants that differ in the sign of zero or in dtype', () => {
    const x = input('x', [2]);
    const quotient = (zero: number) => node('Div', [x, constant(Float32Array.of(zero, 1), [2])], [2]);
    expect(ops(simplify([quotient(0), quotient(-0)]))).toHaveLength(2);
    const n = input('n', [2], 'int32');
    const cast = (value: Value) => node('Mul', [value, constant(3, [2], value.dtype)], [2]);
    expect(ops(simplify([cast(x), cast(n)]))).toHaveLength(2);
  });
});

describe('simplify removes nodes that change nothing', () => {
  it.each<[string, (x: Tensor) => Tensor]>([
    ['adding zeros', (x) => add(zeros([2, 3]), add(x, 0))],
    ['subtracting zero', (x) => sub(x, zeros([3]))],
    ['multiplying by one', (x) => mul(scalar(1), mul(x, ones([2, 3])))],
    ['dividing by one', (x) => div(x, 1)],
    ['reshaping there and back', (x) => reshape(reshape(x, [6]), [2, 3])],
    ['transposing twice', (x) => transpose(transpose(x))],
    ['concatenating with an empty tensor', (x) => concat([x, zeros([0, 3])])],
  ])('such as %s', (_, fn) => expect(simplified(fn, [2, 3])).toEqual([]));

  it.each<[string, (x: Tensor) => Tensor, string[]]>([
    ['multiplying by ones that broadcast', (x) => mul(x, ones([2, 3])), ['Mul']],
    ['adding zeros that broadcast', (x) => add(zeros([2, 1]), x), ['Add']],
    ['subtracting from zero', (x) => sub(0, x), ['Sub']],
    ['dividing one', (x) => div(1, x), ['Div']],
    ['raising to the power of one', (x) => pow(x, 1), ['Pow']],
  ])('but not %s', (_, fn, expected) => expect(simplified(fn, [1, 3])).toEqual(expected));

  it('and nodes that no output needs', () => {
    expect(
      simplified(
        (x) => {
          exp(x);
          return relu(x);
        },
        [2],
      ),
    ).toEqual(['Relu']);
  });
});

it('simplify replaces uniform constants by scalars if another operand has the shape of the result', () => {
  const x = input('x', [4, 5]);
  const [full, repeating] = simplify([
    node('Mul', [x, constant(3, [4, 5])], [4, 5]),
    node('Mul', [input('y', [1, 5]), constant(3, [4, 5])], [4, 5]),
  ]);
  const shapes = (value: Value) =>
    value.source.kind === 'node' ? value.source.node.inputs.map((operand) => operand!.shape.length) : [];
  expect(shapes(full!)).toEqual([2, 0]);
  expect(shapes(repeating!)).toEqual([2, 2]);
});

it('simplify merges nodes inside subgraphs and the values they capture', () => {
  const [state, row, outside] = [input('state', [2]), input('row', [2]), input('x', [2])];
  const captured = node('Exp', [node('Add', [outside, constant(0, [2])], [2])], [2]);
  const twice = [captured, node('Exp', [outside], [2])].map((value) => node('Mul', [row, value], [2]));
  const body: Graph = {
    inputs: [state, row],
    outputs: [node('Add', [state, twice[0]!], [2]), node('Add', [twice[1]!, constant(0, [2])], [2])],
  };
  const scan = node('Scan', [constant(0, [2]), input('rows', [3, 2])], [2], {
    attributes: { num_scan_inputs: { int: 1 }, body: { graph: body } },
  });
  const outputs = simplify([scan]);
  expect(ops(outputs)).toEqual(['Exp', 'Scan']);
  const simplifiedBody = nodesOf(outputs).at(-1)!.attributes.body as { graph: Graph };
  expect(nodesOf(simplifiedBody.graph.outputs).map(({ op }) => op)).toEqual(['Exp', 'Mul', 'Add']);
});

describe('simplify preserves values', () => {
  beforeAll(() => useBackend('cpu'));

  it.each<[string, (x: Tensor) => Tensor]>([
    ['zeros and ones', (x) => add(mul(sub(add(x, 0), zeros([3])), 1), mul(ones([2, 3]), div(x, 1)))],
    ['repeated work', (x) => add(mul(exp(x), exp(x)), sub(exp(x), maximum(exp(x), 1)))],
    [
      'uniform constants',
      (x) => where(greater(x, ones([2, 3])), mul(x, tensor(Array(6).fill(2), [2, 3])), zeros([2, 3])),
    ],
    ['rows of constants', (x) => mul(add(x, tensor([1, 1, 1])), tensor([[2], [2]]))],
  ])('of %s', async (_, op) => {
    const fn = ((_params, x) => op(x!)) as ModelFunction;
    const x = tensor([
      [0.5, -1, 2],
      [3, 0, -0.25],
    ]);
    const engine = new OnnxRuntimeEngine();
    const [recorded, expected] = [
      await engine.compileVjp(fn, { wrt: [0] })({}, [x]),
      await new TfjsEngine().compileVjp(fn, { wrt: [0] })({}, [x]),
    ];
    for (const [actual, wanted] of [
      [recorded.value, expected.value],
      [recorded.inputs[0]!, expected.inputs[0]!],
    ] as const) {
      expect(actual.shape).toEqual(wanted.shape);
      Array.from(wanted.dataSync()).forEach((value, i) => expect(actual.dataSync()[i]).toBeCloseTo(value, 5));
    }
    engine.dispose();
  });
});
