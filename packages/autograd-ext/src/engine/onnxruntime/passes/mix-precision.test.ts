import {
  add,
  mul,
  reshape,
  softmax,
  sub,
  tensor,
  variable,
  type Tensor,
  type Tensor2D,
  type Tensor3D,
} from '@tensorflow/tfjs-core';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../../../backend.js';
import { groupNorm } from '../../../ops/group-norm.js';
import { linear } from '../../../ops/linear.js';
import { scaledDotProductAttention } from '../../../ops/scaled-dot-product-attention.js';
import { silu } from '../../../ops/silu.js';
import type { Params } from '../../../params.js';
import { random } from '../../../random.js';
import type { ModelFunction } from '../../../vjp.js';
import { directory } from '../../../weights/files/directory.js';
import { openSafetensors } from '../../../weights/safetensors/open-safetensors.js';
import { saveSafetensors } from '../../../weights/safetensors/save-safetensors.js';
import { OnnxRuntimeEngine } from '../engine.js';
import type { OnnxRuntimeEngineOptions } from '../options.js';
import { nodesOf, type Graph, type GraphNode } from '../graph/graph.js';
import { mixPrecision } from './mix-precision.js';
import { recordFunction } from '../recording/record-function.js';

const normal = (shape: number[], seed: number, scale = 1) =>
  tensor(
    random(seed)
      .randn(shape.reduce((a, b) => a * b))
      .map((x) => x * scale),
    shape,
  );
const weights = () => ({
  norm: { weight: normal([32], 1), bias: normal([32], 2) },
  q: normal([32, 32], 3, 0.2),
  k: normal([32, 32], 4, 0.2),
  v: normal([32, 32], 5, 0.2),
  out: variable(normal([32, 32], 6, 0.2)),
});
type Weights = ReturnType<typeof weights>;

/** A transformer block on `[2, 20, 32]`. */
function block(params: Params, x: Tensor): Tensor {
  const { norm, q, k, v, out } = params as unknown as Weights;
  const h = reshape(
    silu(groupNorm(x as Tensor3D, norm.weight, norm.bias, { groups: 4, eps: 1e-5 }) as Tensor3D),
    [40, 32],
  ) as Tensor2D;
  const project = (weight: Tensor) => reshape(linear(h, weight as Tensor2D), [2, 20, 32]) as Tensor3D;
  const attended = reshape(
    scaledDotProductAttention(project(q), project(k), project(v), { heads: 2 }),
    [40, 32],
  ) as Tensor2D;
  return add(x, reshape(linear(attended, out as never), x.shape));
}

const engines: OnnxRuntimeEngine[] = [];
const engine = (options: OnnxRuntimeEngineOptions = {}) => {
  engines.push(new OnnxRuntimeEngine({ threads: 1, ...options }));
  return engines.at(-1)!;
};

/** The largest difference, relative to the largest value. */
function distance(actual: Tensor, expected: Tensor): number {
  const [a, e] = [actual.dataSync(), expected.dataSync()];
  const largest = Math.max(...Array.from(e, Math.abs));
  return Math.max(...Array.from(a, (value, i) => Math.abs(value - e[i]!))) / largest;
}

describe('mixPrecision', () => {
  beforeAll(() => useBackend('wasm'));
  afterEach(() => engines.splice(0).forEach((one) => one.dispose()));

  it('runs products in float16, and norms, softmax and outputs in float32', () => {
    const fn: ModelFunction = (params, x) => softmax(block(params, x!));
    const recording = recordFunction(fn, weights() as unknown as Params, [{ shape: [2, 20, 32], dtype: 'float32' }]);
    const outputs = mixPrecision(recording.graph.outputs);
    const nodes = nodesOf(outputs);
    const typesOf = (op: string) =>
      new Set(
        nodes
          .filter((node) => node.op === op)
          .flatMap(({ inputs, outputs: results }: GraphNode) =>
            [...inputs.slice(0, 2), ...results].map((value) => value!.dtype),
          ),
      );
    expect([...typesOf('Gemm')]).toEqual(['float16']);
    expect([...typesOf('MultiHeadAttention')]).toEqual(['float16']);
    expect([...typesOf('InstanceNormalization')]).toEqual(['float32']);
    expect([...typesOf('Softmax')]).toEqual(['float32']);
    expect(outputs.map(({ dtype }) => dtype)).toEqual(['float32']);
  });

  it('agrees with float32 up to rounding', async () => {
    const [params, x] = [weights() as unknown as Params, normal([2, 20, 32], 9)];
    const [exact] = await engine().compile(block as ModelFunction)(params, x);
    const [rounded] = await engine({ precision: 'float16' }).compile(block as ModelFunction)(params, x);
    expect(distance(rounded!, exact!)).toBeLessThan(2e-3);
    expect(distance(rounded!, exact!)).toBeGreaterThan(1e-6);
  });

  it.each([1, 1e-12, 1e12])(
    'scales gradients so that they neither underflow nor overflow: dy of about %f',
    async (size) => {
      const [params, x, dy] = [weights() as unknown as Params, normal([2, 20, 32], 9), normal([2, 20, 32], 10, size)];
      const run = (precision: 'float32' | 'float16') =>
        engine({ precision }).compileVjp(block as ModelFunction, { wrt: [0] })(params, [x], dy);
      const [exact, rounded] = [await run('float32'), await run('float16')];
      for (const [actual, expected] of [
        [rounded.inputs[0]!, exact.inputs[0]!],
        [rounded.params.out!, exact.params.out!],
      ] as const) {
        expect(distance(actual, expected)).toBeLessThan(4e-3);
        expect(distance(actual, expected)).toBeGreaterThan(1e-6);
      }
    },
  );

  it('returns gradients of zero for a dy of zero', async () => {
    const run = engine({ precision: 'float16' }).compileVjp(block as ModelFunction, { wrt: [0] });
    const { inputs } = await run(
      weights() as unknown as Params,
      [normal([2, 20, 32], 9)],
      mul(normal([2, 20, 32], 10), 0),
    );
    expect(inputs[0]!.dataSync().every((x) => x === 0)).toBe(true);
  });

  it('clamps the constants of masks to the range of float16', () => {
    const fn: ModelFunction = (_, x) =>
      scaledDotProductAttention(x as Tensor3D, x as Tensor3D, x as Tensor3D, { heads: 2, causal: true });
    const { graph } = recordFunction(fn, {}, [{ shape: [2, 20, 32], dtype: 'float32' }], {
      wrt: [0],
      dy: { shape: [2, 20, 32], dtype: 'float32' },
    });
    const constants = nodesOf(mixPrecision(graph.outputs))
      .flatMap(({ inputs }) => inputs)
      .filter((value) => value?.dtype === 'float16' && value.source.kind === 'constant');
    const numbers = constants.flatMap((value) =>
      [(value!.source as { data: number | Float32Array }).data].flatMap((data) =>
        typeof data === 'number' ? [data] : [...data],
      ),
    );
    expect(Math.min(...numbers)).toBe(-65504);
  });

  it('halves the memory saved for backward', async () => {
    const forward = async (precision: 'float32' | 'float16') =>
      (await engine({ precision }).compileVjp(block as ModelFunction).forward!(weights() as unknown as Params, [
        normal([2, 20, 32], 9),
      ]))!;
    const [exact, rounded] = [await forward('float32'), await forward('float16')];
    expect(rounded.bytes).toBe(exact.bytes / 2);
  });

  it('rebuilds the loop in the gradient of attention, with float32 state', async () => {
    const attend: ModelFunction = (_, q) =>
      scaledDotProductAttention(q as Tensor3D, mul(q!, 0.5) as Tensor3D, sub(q!, 1) as Tensor3D, { heads: 2 });
    const [x, dy] = [normal([1, 2100, 8], 11), normal([1, 2100, 8], 12)];
    let backward: Graph | undefined;
    const run = (precision: 'float32' | 'float16') =>
      engine({ precision, onCompile: ({ graph }) => (backward = graph ?? backward) }).compileVjp(attend, { wrt: [0] })(
        {},
        [x],
        dy,
      );
    const [exact, rounded] = [await run('float32'), await run('float16')];
    expect(nodesOf(backward!.outputs).map(({ op }) => op)).toContain('Scan');
    expect(distance(rounded.inputs[0]!, exact.inputs[0]!)).toBeLessThan(1e-2);
  });
});

describe('weights in float16', () => {
  let folder: string;
  beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'alignprop-half-'))));
  afterAll(() => rm(folder, { recursive: true }));

  it('are mapped in place', async () => {
    const weight = normal([32, 32], 3);
    await saveSafetensors(join(folder, 'w.safetensors'), {
      weight: { dtype: 'F16', shape: weight.shape, data: weight.dataSync() as Float32Array },
    });
    const { tensors } = await openSafetensors(directory(folder), 'w.safetensors');
    const model: string[] = [];
    const run = engine({
      precision: 'float16',
      onCompile: ({ model: bytes }) => bytes && model.push(Buffer.from(bytes).toString('latin1')),
    }).compile(({ w }: any, x) => linear(x as Tensor2D, w as never));
    const x = normal([4, 32], 13);
    const [y] = await run({ w: tensors.get('weight')! } as unknown as Params, x);
    expect(distance(y!, linear(x as Tensor2D, weight as Tensor2D))).toBeLessThan(2e-3);
    expect(model[0]).toContain('w.safetensors');
  });
});
