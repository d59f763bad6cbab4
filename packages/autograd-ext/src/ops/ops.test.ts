import { add, mul, randomNormal, tidy, zeros, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { testBackends } from '../../../../fixtures/engines.js';
import { expectClose } from '../../../../fixtures/index.js';
import { useBackend } from '../backend.js';
import type { LinearMap } from '../params.js';
import { checkGradient, expectNoLeaks } from '../testing/index.js';
import { conv2d } from './conv2d.js';
import { geglu } from './geglu.js';
import { gelu } from './gelu.js';
import { groupNorm } from './group-norm.js';
import { layerNorm } from './layer-norm.js';
import { linear } from './linear.js';
import { quickGelu } from './quick-gelu.js';
import { resize, upsampleNearest } from './resize.js';
import { scaledDotProductAttention } from './scaled-dot-product-attention.js';
import { silu } from './silu.js';

type Shapes = readonly (readonly number[])[];
type Op = (...xs: any[]) => Tensor;

// Every op with odd sizes, with several examples, and with axes of length 1.
const cases: [name: string, shapes: Shapes, op: Op][] = [
  ['linear', [[3, 5], [7, 5], [7]], linear],
  [
    'linear without bias, rank 3',
    [
      [2, 3, 5],
      [1, 5],
    ],
    linear,
  ],
  ['linear of one row and channel', [[1, 1], [3, 1], [3]], linear],
  ['conv2d 3x3', [[2, 5, 4, 3], [6, 3, 3, 3], [6]], (x, w, b) => conv2d(x, w, b, { padding: 1 })],
  [
    'conv2d 3x3 without padding or bias',
    [
      [1, 4, 3, 2],
      [1, 2, 3, 3],
    ],
    (x, w) => conv2d(x, w),
  ],
  ['conv2d stride 2', [[2, 6, 5, 3], [4, 3, 3, 3], [4]], (x, w, b) => conv2d(x, w, b, { stride: 2, padding: 1 })],
  ['conv2d stride 2, even', [[2, 4, 6, 1], [2, 1, 3, 3], [2]], (x, w, b) => conv2d(x, w, b, { stride: 2, padding: 1 })],
  [
    'conv2d of the VAE encoder',
    [[2, 6, 4, 2], [3, 2, 3, 3], [3]],
    (x, w, b) => conv2d(x, w, b, { stride: 2, padding: [0, 1, 0, 1] }),
  ],
  [
    'conv2d of patches',
    [
      [2, 7, 8, 3],
      [4, 3, 3, 3],
    ],
    (x, w) => conv2d(x, w, undefined, { stride: 3 }),
  ],
  ['conv2d of a rectangle', [[1, 5, 7, 2], [2, 2, 1, 4], [2]], (x, w, b) => conv2d(x, w, b, { padding: [0, 0, 1, 2] })],
  ['conv2d 1x1', [[2, 3, 2, 4], [5, 4, 1, 1], [5]], (x, w, b) => conv2d(x, w, b)],
  [
    'conv2d 1x1 stride 2',
    [
      [2, 3, 5, 4],
      [5, 4, 1, 1],
    ],
    (x, w) => conv2d(x, w, undefined, { stride: 2 }),
  ],
  ['groupNorm', [[2, 3, 4, 6], [6], [6]], (x, w, b) => groupNorm(x, w, b, { groups: 3, eps: 1e-5 })],
  ['groupNorm of one group', [[2, 3, 5], [5], [5]], (x, w, b) => groupNorm(x, w, b, { groups: 1, eps: 1e-6 })],
  ['groupNorm of single channels', [[1, 1, 7, 4], [4], [4]], (x, w, b) => groupNorm(x, w, b, { groups: 4, eps: 1e-5 })],
  ['layerNorm', [[2, 3, 7], [7], [7]], (x, w, b) => layerNorm(x, w, b, { eps: 1e-5 })],
  ['layerNorm of one row', [[1, 5], [5], [5]], (x, w, b) => layerNorm(x, w, b, { eps: 1e-5 })],
  ['silu', [[2, 3, 5]], silu],
  ['gelu', [[2, 3, 5]], gelu],
  ['geglu', [[2, 3, 10]], geglu],
  ['quickGelu', [[2, 3, 5]], quickGelu],
  [
    'attention',
    [
      [2, 5, 6],
      [2, 3, 6],
      [2, 3, 6],
    ],
    (q, k, v) => scaledDotProductAttention(q, k, v, { heads: 2 }),
  ],
  [
    'attention of wide heads',
    [
      [2, 67, 16],
      [2, 5, 16],
      [2, 5, 16],
    ],
    (q, k, v) => scaledDotProductAttention(q, k, v, { heads: 2 }),
  ],
  [
    'attention of wide heads, causal',
    [
      [1, 66, 8],
      [1, 66, 8],
      [1, 66, 8],
    ],
    (q, k, v) => scaledDotProductAttention(q, k, v, { heads: 2, causal: true }),
  ],
  [
    'attention of heads of 12',
    [
      [2, 3, 24],
      [2, 9, 24],
      [2, 9, 24],
    ],
    (q, k, v) => scaledDotProductAttention(q, k, v, { heads: 2 }),
  ],
  [
    'attention, causal',
    [
      [2, 5, 4],
      [2, 5, 4],
      [2, 5, 4],
    ],
    (q, k, v) => scaledDotProductAttention(q, k, v, { heads: 2, causal: true }),
  ],
  [
    'attention of one head, scaled',
    [
      [1, 3, 5],
      [1, 7, 5],
      [1, 7, 5],
    ],
    (q, k, v) => scaledDotProductAttention(q, k, v, { heads: 1, scale: 0.7 }),
  ],
  [
    'attention to one key',
    [
      [2, 3, 3],
      [2, 1, 3],
      [2, 1, 3],
    ],
    (q, k, v) => scaledDotProductAttention(q, k, v, { heads: 3 }),
  ],
  ['resize bilinear', [[2, 5, 7, 3]], (x: Tensor4D) => resize(x, [3, 9], { mode: 'bilinear' })],
  ['resize bicubic', [[2, 6, 4, 1]], (x: Tensor4D) => resize(x, [4, 7], { mode: 'bicubic' })],
  [
    'resize without antialiasing',
    [[1, 6, 4, 2]],
    (x: Tensor4D) => resize(x, [4, 7], { mode: 'bicubic', antialias: false }),
  ],
  ['upsampleNearest x2', [[2, 3, 4, 3]], (x: Tensor4D) => upsampleNearest(x, [6, 8])],
  ['upsampleNearest to an odd size', [[2, 3, 4, 2]], (x: Tensor4D) => upsampleNearest(x, [5, 7])],
];

describe.each(testBackends)('gradients of ops on %s', (backend) => {
  beforeAll(() => useBackend(backend));
  it.each(cases)('agree with finite differences: %s', async (_, shapes, op) => {
    const inputs = shapes.map((shape, i) => randomNormal([...shape], 0, 1, 'float32', i + 1));
    await expectNoLeaks(() => checkGradient(op, inputs, { entries: 24 }));
    inputs.forEach((x) => x.dispose());
  });
});

describe.each(testBackends)('linear on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('applies a LinearMap in place of the matrix', () => {
    const calls: number[][] = [];
    const double: LinearMap = {
      shape: [4, 4],
      apply: (x) => (calls.push(x.shape), mul(x, 2)),
      parts: () => ({}),
      with: () => double,
    };
    const [x, bias] = [randomNormal([2, 3, 4]), randomNormal([4])];
    tidy(() => {
      const y = linear(x, double, bias);
      expectClose(y, add(mul(x, 2), bias), 1e-6);
      checkGradient((z, b) => linear(z!, double, b), [x, bias]);
    });
    expect(calls[0]).toEqual([6, 4]);
  });
});

describe.each(testBackends)('shape checks of ops on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it.each<[string, () => unknown]>([
    ['linear: x', () => linear(zeros([2, 3]), zeros([4, 5]))],
    ['conv2d: x', () => conv2d(zeros([1, 4, 4, 3]), zeros([2, 4, 3, 3]))],
    ['conv2d: padding', () => conv2d(zeros([1, 4, 4, 4]), zeros([2, 4, 1, 1]), undefined, { padding: 1 })],
    ['groupNorm: groups', () => groupNorm(zeros([1, 4, 6]), zeros([6]), zeros([6]), { groups: 4, eps: 1e-5 })],
    ['layerNorm: weight and bias', () => layerNorm(zeros([1, 6]), zeros([5]), zeros([6]), { eps: 1e-5 })],
    ['heads', () => scaledDotProductAttention(zeros([1, 2, 6]), zeros([1, 2, 6]), zeros([1, 2, 6]), { heads: 4 })],
    ['k and v', () => scaledDotProductAttention(zeros([1, 2, 6]), zeros([1, 2, 6]), zeros([1, 3, 6]), { heads: 2 })],
    ['resize: x and size', () => resize(zeros([1, 2, 6, 1]), [0, 4], { mode: 'bilinear' })],
  ])('throw an error that names %s', (message, fn) => {
    expect(() => tidy(() => void fn())).toThrow(new RegExp(`${message} got .*expected`));
  });
});
