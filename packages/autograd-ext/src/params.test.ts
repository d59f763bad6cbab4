import { matMul, scalar, tensor2d, variable, type Tensor } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from './backend.js';
import { flatten, flattenTensors, mapLeaves, trainable, unflatten, withTensors, type LinearMap } from './params.js';

beforeAll(() => useBackend('cpu'));

const linearMap = (base: Tensor, factor: Tensor): LinearMap => ({
  shape: base.shape,
  apply: (x) => matMul(x, base, false, true),
  parts: () => ({ 'base_layer.weight': base, 'lora_A.weight': factor }),
  with: (parts) => linearMap(parts['base_layer.weight'] as Tensor, parts['lora_A.weight'] as Tensor),
});

describe('Params', () => {
  it('unflatten builds arrays from keys 0 … n-1, and objects from all others', () => {
    const tree = unflatten({ 'blocks.0.weight': 'a', 'blocks.1.weight': 'b', 'net.0.bias': 'c', 'net.2.bias': 'd' });
    expect(tree).toEqual({ blocks: [{ weight: 'a' }, { weight: 'b' }], net: { 0: { bias: 'c' }, 2: { bias: 'd' } } });
  });

  it('unflatten orders arrays by index, not by the order of the keys', () => {
    const keys = Array.from({ length: 12 }, (_, i) => `x.${11 - i}`);
    expect(unflatten(Object.fromEntries(keys.map((key) => [key, key])))).toEqual({ x: keys.toReversed() });
  });

  it('flatten returns the leaves given to unflatten', () => {
    const leaves = { 'a.0.weight': scalar(1), 'a.1.weight': scalar(2), 'b.c': scalar(3) };
    expect(flatten(unflatten(leaves) as never)).toEqual(leaves);
  });

  it.each([[{ a: 1, 'a.b': 2 }], [{ 'a.b': 2, a: 1 }]])(
    'unflatten rejects a key that another key continues: %o',
    (leaves) => {
      expect(() => unflatten(leaves)).toThrow(/key/);
    },
  );

  it('unflatten treats a key named __proto__ as data', () => {
    const tree = unflatten({ '__proto__.x': 1 }) as Record<string, unknown>;
    expect(Object.keys(tree)).toEqual(['__proto__']);
    expect(({} as Record<string, unknown>).x).toBeUndefined();
  });

  it('gives the parts of a linear map paths beside its own, and finds the trainable ones', () => {
    const factor = variable(tensor2d([[1, 2]]));
    const params = { to_q: { weight: linearMap(tensor2d([[1, 0]]), factor), bias: scalar(0) } };
    expect(Object.keys(flatten(params))).toEqual(['to_q.weight', 'to_q.bias']);
    expect(Object.keys(flattenTensors(params))).toEqual(['to_q.base_layer.weight', 'to_q.lora_A.weight', 'to_q.bias']);
    expect(trainable(params)).toEqual({ 'to_q.lora_A.weight': factor });
  });

  it('withTensors replaces the named tensors, and nothing else', () => {
    const params = { to_q: { weight: linearMap(scalar(1), scalar(2)), bias: scalar(3) } };
    const replacement = scalar(4);
    const tensors = flattenTensors(withTensors(params, { 'to_q.lora_A.weight': replacement }));
    expect(tensors['to_q.lora_A.weight']).toBe(replacement);
    expect(tensors['to_q.bias']).toBe(params.to_q.bias);
  });

  it('mapLeaves maps a linear map as one leaf', () => {
    const params = { to_q: { weight: linearMap(scalar(1), scalar(2)) } };
    expect(mapLeaves(params, (path) => scalar(path.length))).toHaveProperty('to_q.weight');
  });
});
