import { describe, expect, it } from 'vitest';
import { constant, node, type Value } from '../graph/graph.js';
import { graphMemory } from './peak-memory.js';

const input = (name: string, ...shape: number[]): Value => ({
  shape,
  dtype: 'float32',
  source: { kind: 'input', name },
});
const weight = (leaf: object, ...shape: number[]): Value => ({
  shape,
  dtype: 'float32',
  source: { kind: 'weight', leaf },
});
const matMul = (a: Value, b: Value): Value => node('MatMul', [a, b], [a.shape[0]!, b.shape[1]!]);

describe('graphMemory', () => {
  const x = input('x', 10, 100);
  const big = matMul(x, weight({}, 100, 1000)); // 40,000 bytes
  const small = matMul(big, weight({}, 1000, 10)); // 400 bytes

  it('counts results that live at the same time, and outputs separately', () => {
    const again = matMul(matMul(small, weight({}, 10, 2000)), weight({}, 2000, 1)); // 80,000 bytes, when `big` is gone
    expect(graphMemory({ inputs: [x], outputs: [again] })).toMatchObject({
      activations: 80_400,
      outputs: 40,
      nodes: 4,
    });
    const second = matMul(matMul(small, weight({}, 10, 2000)), node('Transpose', [big], [1000, 10]));
    expect(graphMemory({ inputs: [x], outputs: [small, second] }).outputs).toBe(400 + 4 * 10 * 10);
  });

  it('counts a shared weight once, and values computed from weights alone as folded', () => {
    const leaf = {};
    const shared = weight(leaf, 100, 100);
    const turned = node('Transpose', [shared], [100, 100]);
    const product = matMul(matMul(matMul(x, shared), weight(leaf, 100, 100)), turned);
    expect(graphMemory({ inputs: [x], outputs: [product] }, { relayout: true })).toMatchObject({
      weights: new Map([[leaf, 40_000]]),
      folded: 40_000,
      nodes: 3,
    });
    expect(graphMemory({ inputs: [], outputs: [turned] }, { relayout: true })).toMatchObject({
      activations: 0,
      weights: new Map(),
      nodes: 0,
    });
  });

  it('overwrites inputs that no other node reads, and shares the memory of reshapes', () => {
    const chain = [1, 2, 3].reduce((value) => node('Add', [value, constant(1, [])], value.shape), big);
    const flat = node('Reshape', [chain, constant(Int32Array.of(10_000), [1], 'int64')], [10_000]);
    const out = node('ReduceSum', [flat], [1]);
    expect(graphMemory({ inputs: [x], outputs: [out] }).activations).toBe(40_000);
    const product = node('Mul', [node('Add', [big, constant(1, [])], big.shape), big], big.shape);
    expect(graphMemory({ inputs: [x], outputs: [node('ReduceSum', [product], [1])] }).activations).toBe(80_000);
  });

  it('follows the run order of ONNX Runtime: a node computes its last input first', () => {
    const activations = (product: (value: Value, factor: Value) => Value) => {
      const factors = [1, 2, 3].map(() => matMul(input('y', 10, 1), weight({}, 1, 1000)));
      const chain = factors.reduce((value, factor) => product(matMul(value, weight({}, 1000, 1000)), factor), big);
      return graphMemory({ inputs: [], outputs: [node('ReduceSum', [chain], [1])] }).activations;
    };
    expect(activations((value, factor) => node('Mul', [value, factor], value.shape))).toBe(2 * 40_000);
    // all three factors before the first product
    expect(activations((value, factor) => node('Mul', [factor, value], value.shape))).toBe(5 * 40_000);
  });

  it('adds the scratch memory of operators', () => {
    const [image, kernel] = [input('image', 1, 8, 10, 10), weight({}, 8, 4, 3, 3)];
    const grown = node('ConvTranspose', [image, kernel], [1, 4, 12, 12]);
    expect(graphMemory({ inputs: [image], outputs: [grown] }).activations).toBe(4 * 4 * 9 * 100);
  });
});
