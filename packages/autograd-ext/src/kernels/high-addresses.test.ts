import { backend, dispose, reshape, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../backend.js';
import { conv2d, type Kernel } from '../ops/conv2d.js';
import { geglu } from '../ops/geglu.js';
import { groupNorm } from '../ops/group-norm.js';
import { layerNorm } from '../ops/layer-norm.js';
import { linear, type Matrix } from '../ops/linear.js';
import { scaledDotProductAttention } from '../ops/scaled-dot-product-attention.js';
import { randn, random } from '../random.js';
import { vjp, type ModelFunction } from '../vjp.js';
import { allocate, type WasmBackend } from './registry/wasm-backend.js';

const half = 2 ** 31;
const channels = 32;
const functions: readonly ModelFunction[] = [
  function attends(_, x) {
    return scaledDotProductAttention(x!, x!, x!, { heads: 2 });
  },
  function normalizesGroups(_, x, weight, bias) {
    return groupNorm(x!, weight!, bias!, { groups: 4, eps: 1e-5 });
  },
  function normalizesLayers(_, x, weight, bias) {
    return layerNorm(x!, weight!, bias!, { eps: 1e-5 });
  },
  function gates(_, x) {
    return geglu(x!);
  },
  function multiplies(_, x, __, ___, matrix) {
    return linear(x!, matrix as Matrix);
  },
  function convolves(_, x, __, ___, matrix) {
    return conv2d(
      reshape(x!, [1, 16, -1, channels]) as Tensor4D,
      reshape(matrix!, [channels, channels, 1, 1]) as Kernel,
    );
  },
];

/** Fills tfjs's memory up to 2 GiB, holes included. Returns what frees it. */
function fill(): () => void {
  const wasm = backend() as WasmBackend;
  const addresses: number[] = [];
  for (let bytes = 2 ** 28; bytes >= 64; bytes /= 2)
    do addresses.push(allocate(wasm, bytes));
    while (addresses.at(-1)! < half);
  return () => addresses.forEach((address) => wasm.wasm._free(address));
}

describe('kernels on wasm', () => {
  beforeAll(() => useBackend('wasm'));

  it.each(functions)('compute the same from 2 GiB on: %o', (fn) => {
    const compute = () => {
      const [weight, bias] = [randn(random(2), [channels]), randn(random(3), [channels])];
      const inputs = [randn(random(1), [1, 512, channels]), weight, bias, randn(random(4), [channels, channels])];
      const { value, inputs: gradients } = vjp(fn, {}, inputs);
      const values = [value, ...gradients].map((tensor: Tensor) => tensor.dataSync());
      const address = (backend() as WasmBackend).dataIdMap.get(value.dataId).memoryOffset;
      dispose([...inputs, value, ...gradients]);
      return { values, address };
    };
    const low = compute();
    const free = fill();
    const high = compute();
    free();
    expect(low.address).toBeLessThan(half);
    expect(high.address).toBeGreaterThanOrEqual(half);
    expect(high.values).toEqual(low.values);
  });
});
