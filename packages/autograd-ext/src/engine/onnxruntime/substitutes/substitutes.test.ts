// Runs the substitutes for WebGPU on the CPU, which computes the operators themselves as well.
import type { Tensor3D } from '@tensorflow/tfjs-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../../../backend.js';
import { scaledDotProductAttention } from '../../../ops/scaled-dot-product-attention.js';
import { entry, float } from '../__fixtures__/kernel-case.js';
import { difference, kernelCases, order, prepared, run } from '../__fixtures__/kernel-results.js';
import { OnnxRuntimeEngine } from '../engine.js';
import { nodesOf } from '../graph/graph.js';
import { nodeRuntime } from '../runtime/node-runtime.js';
import type { OnnxRuntime } from '../runtime/runtime.js';

const attention = 'MultiHeadAttention';
/** Computes on the CPU what an engine gives to WebGPU, except attention. */
const pretended: OnnxRuntime = {
  ...nodeRuntime,
  startSession: (graph, options, weights) => {
    if (options.device === 'webgpu' && Buffer.from(graph.model).includes(attention)) throw new Error('no attention');
    return nodeRuntime.startSession(graph, { ...options, device: 'cpu' }, weights);
  },
};
const replaced =
  /filter-sized|^(sin|cos|tan|pow|attention|maxPool|MaxPoolGrad|stridedSlice)|[dD]epthwise|separable|dimension of 0/;
const cases = kernelCases.filter(({ name }) => replaced.test(name) && !name.includes('3d'));
const long = entry(
  'attention over a long sequence',
  [float([1, 2100, 4]), float([1, 2050, 4]), float([1, 2050, 4])],
  (q: Tensor3D, k: Tensor3D, v: Tensor3D) => scaledDotProductAttention(q, k, v, { heads: 2 }),
);

describe('the substitutes of webgpu', () => {
  const ops = new Set<string>();
  const plain = new OnnxRuntimeEngine({ threads: 1 });
  const substituted = new OnnxRuntimeEngine({
    threads: 1,
    device: 'webgpu',
    runtime: pretended,
    onCompile: ({ graph }) => graph && nodesOf(graph.outputs).forEach(({ op }) => ops.add(op)),
  });
  beforeAll(() => useBackend('wasm'));
  afterEach(() => [plain, substituted].forEach((engine) => engine.dispose()));
  afterAll(() => ops.clear());

  it.each([...cases, long])('compute the same values and gradients: $name', async (kernelCase) => {
    const { fn, wrt, make } = prepared(kernelCase, order);
    expect(difference(await run(substituted, fn, make(), wrt), await run(plain, fn, make(), wrt), 1e-5)).toBe('');
  });

  it('leave none of the operators', () => {
    expect(cases.length).toBeGreaterThan(35);
    for (const op of [attention, 'Scan', 'Sin', 'Cos', 'Tan', 'ScatterElements']) expect(ops).not.toContain(op);
  });
});
