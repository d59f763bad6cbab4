import {
  getKernel,
  ones,
  randomNormal,
  registerKernel,
  tensor,
  tidy,
  unregisterKernel,
  zeros,
  type Tensor,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { testBackends } from '../../../../../fixtures/engines.js';
import { expectClose } from '../../../../../fixtures/index.js';
import { useBackend } from '../../backend.js';
import { geglu, gelu, groupNorm, layerNorm, resize, scaledDotProductAttention, upsampleNearest } from '../../index.js';
import { vjp } from '../../vjp.js';

type Op = (...xs: any[]) => Tensor;

const cases: [name: string, backends: readonly string[], shapes: number[][], op: Op][] = [
  [
    'GroupNorm',
    ['wasm', 'cpu'],
    [[2, 5, 3, 12], [12], [12]],
    (x, w, b) => groupNorm(x, w, b, { groups: 4, eps: 1e-5 }),
  ],
  ['GroupNorm', ['wasm', 'cpu'], [[2, 300, 24], [24], [24]], (x, w, b) => groupNorm(x, w, b, { groups: 4, eps: 1e-5 })],
  ['GroupNorm', ['wasm', 'cpu'], [[3, 7, 6], [6], [6]], (x, w, b) => groupNorm(x, w, b, { groups: 2, eps: 1e-5 })],
  ['LayerNorm', ['wasm', 'cpu'], [[3, 21], [21], [21]], (x, w, b) => layerNorm(x, w, b, { eps: 1e-5 })],
  ['LayerNorm', ['wasm', 'cpu'], [[3, 7, 20], [20], [20]], (x, w, b) => layerNorm(x, w, b, { eps: 1e-5 })],
  ['Gelu', ['wasm', 'cpu'], [[4, 500]], (x) => gelu(x)],
  ['Geglu', ['wasm', 'cpu'], [[4, 3, 50]], (x) => geglu(x)],
  ['Geglu', ['wasm', 'cpu'], [[5, 400]], (x) => geglu(x)],
  ['Resize', ['wasm', 'cpu'], [[2, 9, 7, 3]], (x: Tensor4D) => resize(x, [5, 11], { mode: 'bicubic' })],
  ['Resize', ['wasm', 'cpu'], [[2, 5, 7, 3]], (x: Tensor4D) => upsampleNearest(x, [10, 14])],
  [
    'ScaledDotProductAttention',
    ['wasm'],
    [
      [2, 130, 16],
      [2, 37, 16],
      [2, 37, 16],
    ],
    (q, k, v) => scaledDotProductAttention(q, k, v, { heads: 2 }),
  ],
  [
    'ScaledDotProductAttention',
    ['wasm'],
    [
      [2, 65, 24],
      [2, 65, 24],
      [2, 65, 24],
    ],
    (q, k, v) => scaledDotProductAttention(q, k, v, { heads: 2, causal: true }),
  ],
];

describe.each(['wasm', 'cpu'] as const)('fused kernels on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it.each(cases.filter(([, backends]) => backends.includes(backend)))(
    '%s and its gradient agree with the composite',
    (name, _, shapes, op) => {
      const inputs = shapes.map((shape, i) => randomNormal(shape, 0.3, 2, 'float32', i + 1));
      const dy = tidy(() => randomNormal(op(...inputs).shape, 0, 1, 'float32', 9));
      const run = () => vjp((_params, ...xs) => op(...xs), {}, inputs, dy);
      const fused = run();
      const composite = withoutKernels([name, `${name}Grad`], backend, run);
      expectClose(fused.value, composite.value, 2e-6, 'value');
      fused.inputs.forEach((grad, i) => expectClose(grad, composite.inputs[i]!, 5e-6, `gradient ${i}`));
    },
  );
});

/** Runs `fn` with the named kernels unregistered, so that the composites run. */
function withoutKernels<T>(names: string[], backend: string, fn: () => T): T {
  const kernels = names.map((name) => getKernel(name, backend)!);
  kernels.forEach((kernel) => (expect(kernel).toBeDefined(), unregisterKernel(kernel.kernelName, backend)));
  try {
    return fn();
  } finally {
    kernels.forEach((kernel) => (unregisterKernel(kernel.kernelName, backend), registerKernel(kernel)));
  }
}

it.each(['wasm', 'cpu'] as const)('gelu is exact in float32 on %s', async (backend) => {
  await useBackend(backend);
  const xs = Float32Array.from({ length: 4001 }, (_, i) => (i - 2000) / 210);
  const actual = tidy(() => gelu(tensor(xs)).dataSync());
  const worst = Math.max(...xs.map((x, i) => Math.abs(actual[i]! - x * normalCdf(x)) / (Math.abs(x) + 1e-3)));
  expect(worst).toBeLessThan(1e-7);
});

/** The normal distribution function by Simpson's rule in float64. */
function normalCdf(x: number): number {
  const [steps, low] = [4000, -12];
  const h = (x - low) / steps;
  let sum = 0;
  for (let i = 0; i <= steps; i++)
    sum += (i === 0 || i === steps ? 1 : i % 2 ? 4 : 2) * Math.exp(-((low + i * h) ** 2) / 2);
  return (sum * h) / 3 / Math.sqrt(2 * Math.PI);
}

it.each(testBackends)('geglu is within 3e-7 of the normal distribution on %s', async (backend) => {
  await useBackend(backend);
  const xs = Float32Array.from({ length: 4000 }, (_, i) => (i - 2000) / 140);
  const actual = tidy(() =>
    geglu(
      tensor(
        [...xs].flatMap((x) => [1, 1, 1, 1, x, x, x, x]),
        [4000, 8],
      ),
    ).dataSync(),
  );
  const worst = Math.max(...xs.map((x, i) => Math.abs(actual[4 * i]! - x * normalCdf(x)) / (Math.abs(x) + 1)));
  expect(worst).toBeLessThan(3e-7);
});

it.each(['wasm', 'cpu'] as const)('norms are accurate for values with a large mean on %s', async (backend) => {
  await useBackend(backend);
  const sign = (i: number) => (i % 2 ? 1 : -1);
  const x = tensor(
    Float32Array.from({ length: 4096 }, (_, i) => 1000.3 + sign(i) * 1.1),
    [1, 1024, 4],
  );
  const expected = tensor(
    Float32Array.from({ length: 4096 }, (_, i) => sign(i)),
    x.shape,
  );
  for (const norm of [
    (z: Tensor) => groupNorm(z, ones([4]), zeros([4]), { groups: 1, eps: 0 }),
    (z: Tensor) => layerNorm(z, ones([4]), zeros([4]), { eps: 0 }),
  ]) {
    const { value, inputs } = vjp((_, z) => norm(z!), {}, [x], expected);
    expectClose(value, expected, 1e-6, 'value');
    // Normalisation projects a gradient along its output to zero.
    expect(Math.max(...inputs[0]!.dataSync().map(Math.abs))).toBeLessThan(1e-6);
  }
});
