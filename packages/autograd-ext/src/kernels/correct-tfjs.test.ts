import {
  add,
  avgPool,
  batchNorm,
  broadcastTo,
  complex,
  concat,
  conv2d,
  conv2dTranspose,
  cumsum,
  depthToSpace,
  depthwiseConv2d,
  einsum,
  fused,
  gather,
  greater,
  image,
  logicalAnd,
  less,
  matMul,
  maximum,
  maxPool,
  minimum,
  mirrorPad,
  mod,
  mul,
  neg,
  prod,
  randomNormal,
  range,
  real,
  reshape,
  split,
  squaredDifference,
  stridedSlice,
  sub,
  tensor,
  tensor1d,
  tensor2d,
  tile,
  topk,
  unsortedSegmentSum,
  unstack,
  where,
  zeros,
  type Tensor,
  type Tensor2D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { testBackends } from '../../../../fixtures/engines.js';
import { useBackend } from '../backend.js';
import { checkGradient, expectNoLeaks } from '../testing/index.js';
import { vjp } from '../vjp.js';

type Op = (...xs: any[]) => Tensor;

const singleInputCases: [name: string, shape: number[], op: Op][] = [
  ['maxPool', [2, 6, 4, 3], (x) => maxPool(x, 2, 2, 'valid')],
  ['maxPool of negative values', [2, 5, 4, 2], (x) => maxPool(neg(mul(x, x)), 3, 2, 'same')],
  ['maxPool, overlapping', [1, 5, 5, 1], (x) => maxPool(x, 3, 1, 1)],
  ['avgPool', [2, 4, 6, 3], (x) => avgPool(x, 2, 2, 'valid')],
  ['avgPool with a border', [2, 5, 4, 2], (x) => avgPool(x, 3, 2, 'same')],
  ['avgPool with padding', [1, 4, 5, 2], (x) => avgPool(x, 3, 1, 1)],
  ['avgPool of a rectangle, padded', [1, 4, 5, 2], (x) => avgPool(x, [3, 2], 1, 1)],
  ['maxPool of a rectangle, padded', [1, 4, 5, 2], (x) => maxPool(x, [2, 3], 1, 1)],
  ['resizeNearestNeighbor', [2, 3, 4, 2], (x) => image.resizeNearestNeighbor(x, [6, 8])],
  ['resizeNearestNeighbor to fewer', [3, 5, 4, 1], (x) => image.resizeNearestNeighbor(x, [3, 7])],
  ['resizeNearestNeighbor, aligned corners', [2, 3, 4, 2], (x) => image.resizeNearestNeighbor(x, [5, 1], true)],
  ['resizeNearestNeighbor, half pixels', [2, 3, 4, 2], (x) => image.resizeNearestNeighbor(x, [5, 3], false, true)],
  ['resizeBilinear', [2, 3, 4, 2], (x) => image.resizeBilinear(x, [5, 7])],
  ['resizeBilinear, aligned corners', [2, 3, 4, 2], (x) => image.resizeBilinear(x, [5, 2], true)],
  ['resizeBilinear, half pixels', [2, 3, 4, 2], (x) => image.resizeBilinear(x, [5, 7], false, true)],
  ['resizeBilinear, half pixels, to fewer', [2, 7, 5, 1], (x) => image.resizeBilinear(x, [3, 2], false, true)],
  [
    'mirrorPad, reflected',
    [2, 4, 5],
    (x) =>
      mirrorPad(
        x,
        [
          [1, 0],
          [2, 3],
          [0, 4],
        ],
        'reflect',
      ),
  ],
  [
    'mirrorPad, symmetric',
    [1, 4, 5],
    (x) =>
      mirrorPad(
        x,
        [
          [1, 1],
          [2, 4],
          [0, 1],
        ],
        'symmetric',
      ),
  ],
  ['prod of all', [2, 3], (x) => prod(x)],
  ['prod along the middle axis', [2, 3, 4], (x) => prod(x, 1)],
  ['prod along two axes, kept', [2, 3, 4], (x) => prod(x, [0, -1], true)],
  ['stridedSlice', [7, 5, 4], (x) => stridedSlice(x, [1, 0, 1], [7, 5, 3], [2, 3, 1])],
  ['stridedSlice, backwards', [7, 5], (x) => stridedSlice(x, [-1, 3], [0, 0], [-2, -1])],
  [
    'stridedSlice, masked',
    [4, 5, 6],
    (x) => stridedSlice(x, [1, 0, 9, 2], [3, 0, 9, 5], [1, 1, 1, 2], 0b1, 0b1, 0b10, 0b100, 0),
  ],
  ['stridedSlice, shrunk', [4, 5], (x) => stridedSlice(x, [2, 1], [3, 5], [1, 1], 0, 0, 0, 0, 0b1)],
  [
    'stridedSlice, shrunk beside a stride',
    [4, 5, 6],
    (x) => stridedSlice(x, [1, 2, 0], [2, 3, 6], [1, 1, 2], 0, 0, 0, 0, 0b10),
  ],
  [
    'stridedSlice, shrunk beside a backward stride',
    [4, 5, 2],
    (x) => stridedSlice(x, [3, 2], [0, 3], [-1, 1], 0, 0b1, 0, 0, 0b10),
  ],
  ['gather', [4, 3, 2], (x) => gather(x, tensor([2, 0, 2], [3], 'int32'))],
  [
    'gather of a matrix of indices',
    [3, 4, 2],
    (x) =>
      gather(
        x,
        tensor(
          [
            [1, 3, 1],
            [0, 1, 2],
          ],
          [2, 3],
          'int32',
        ),
        1,
      ),
  ],
  [
    'gather in batches',
    [2, 4, 3],
    (x) =>
      gather(
        x,
        tensor(
          [
            [1, 1, 0],
            [3, 2, 1],
          ],
          [2, 3],
          'int32',
        ),
        1,
        1,
      ),
  ],
  [
    'gather in batches, last axis',
    [2, 3, 4],
    (x) =>
      gather(
        x,
        tensor(
          [
            [1, 1],
            [3, 2],
          ],
          [2, 2],
          'int32',
        ),
        -1,
        1,
      ),
  ],
  [
    'cropAndResize, nearest',
    [2, 5, 6, 3],
    (x) =>
      image.cropAndResize(
        x,
        tensor2d([
          [0.1, 0.2, 0.9, 0.8],
          [-0.2, 0.1, 1.1, 0.7],
        ]),
        tensor1d([1, 0], 'int32'),
        [4, 3],
        'nearest',
      ),
  ],
  ['cumsum along the first axis', [3, 4, 2], (x) => cumsum(x, 0, true)],
  ['cumsum along the middle axis, backwards', [3, 4, 2], (x) => cumsum(x, 1, false, true)],
  ['tile at rank 5', [2, 1, 3, 1, 2], (x) => mul(tile(x, [2, 1, 2, 3, 1]), 2)],
  ['broadcastTo at rank 5', [3, 1, 2], (x) => mul(broadcastTo(x, [2, 2, 3, 4, 2]), 2)],
  ['unstack into one', [1, 3, 4], (x) => mul(unstack(x)[0]!, 2)],
  ['split into one', [3, 4], (x) => mul(split(x, 1, 1)[0]!, 2)],
  ['depthToSpace', [2, 3, 2, 12], (x) => depthToSpace(x, 2)],
  ['topk', [3, 2, 7], (x) => topk(x, 3).values],
  ['topk and more', [5], (x) => concat([topk(x, 2).values, mul(x, x)])],
  ['where under a comparison', [3, 4], (x) => where(greater(x, 0.3), mul(x, x), neg(x))],
  ['where under several', [3, 4], (x) => where(logicalAnd(greater(x, -0.8), less(x, 0.1)), mul(x, 3), x)],
];

// x is of the order of 1
const boxes = (x: Tensor) => add(tensor1d([0.11, 0.13, 0.87, 0.92]), mul(x, 0.02)) as Tensor2D;

const multiInputCases: [name: string, shapes: number[][], op: Op][] = [
  [
    'batchNorm without scale and offset',
    [[2, 3, 2, 4], [4], [4]],
    (x, mean, v) => batchNorm(x, mean, add(mul(v, v), 0.5)),
  ],
  [
    'batchNorm without scale',
    [[5, 4], [4], [4], [4]],
    (x, mean, v, offset) => batchNorm(x, mean, add(mul(v, v), 0.5), offset),
  ],
  [
    'batchNorm of images',
    [[2, 3, 2, 4], [4], [4], [4], [4]],
    (x, mean, v, offset, scale) => batchNorm(x, mean, add(mul(v, v), 0.5), offset, scale),
  ],
  [
    'batchNorm, each element on its own',
    [
      [2, 3],
      [2, 3],
      [2, 3],
    ],
    (x, mean, v) => batchNorm(x, mean, add(mul(v, v), 0.5)),
  ],
  [
    'batchNorm',
    [[3, 4], [4], [4], [4], [4]],
    (x, mean, v, offset, scale) => batchNorm(x, mean, add(mul(v, v), 0.5), offset, scale),
  ],
  [
    'cropAndResize of [0.1, 0.9]',
    [
      [2, 5, 6, 3],
      [3, 4],
    ],
    (x, b) => image.cropAndResize(x, boxes(b), tensor1d([1, 0, 1], 'int32'), [4, 3]),
  ],
  [
    'cropAndResize to one pixel',
    [
      [1, 5, 6, 2],
      [1, 4],
    ],
    (x, b) => image.cropAndResize(x, boxes(b), tensor1d([0], 'int32'), [1, 1]),
  ],
  ['unsortedSegmentSum', [[5, 3]], (x) => unsortedSegmentSum(x, tensor1d([2, 0, 2, 3, 0], 'int32'), 4)],
  [
    'maximum, broadcast',
    [
      [2, 3, 4],
      [3, 1],
    ],
    maximum,
  ],
  ['minimum with a scalar', [[2, 3], []], minimum],
  ['squaredDifference, broadcast', [[2, 1], [4]], squaredDifference],
  [
    'matMul of batches with one matrix',
    [
      [3, 2, 4],
      [1, 4, 2],
    ],
    matMul,
  ],
  ['mod', [[3, 4], [4]], (x, y) => mod(add(mul(x, 0.1), 5), add(mul(y, 0.02), 2))],
  [
    'mod of negative numbers',
    [
      [3, 1],
      [1, 4],
    ],
    (x, y) => mod(sub(mul(x, 0.1), 5), add(mul(y, 0.02), 2)),
  ],
  [
    'einsum of matrices',
    [
      [3, 4],
      [4, 5],
    ],
    (a, b) => einsum('ij,jk->ik', a, b),
  ],
  [
    'einsum of batches',
    [
      [2, 3, 4, 5],
      [2, 6, 4, 5],
    ],
    (a, b) => einsum('bqhc,bkhc->bhqk', a, b),
  ],
  [
    'einsum with sums in one operand',
    [
      [2, 3, 4],
      [5, 2],
    ],
    (a, b) => einsum('abc,da->bd', a, b),
  ],
  ['einsum, outer', [[3], [2, 4]], (a, b) => einsum('k,ij->jki', a, b)],
  [
    'einsum, inner',
    [
      [3, 4],
      [4, 3],
    ],
    (a, b) => einsum('ij,ji->', a, b),
  ],
  ['einsum of one operand', [[2, 3, 4]], (a) => einsum('abc->ca', a)],
  ['einsum, the sum of one operand', [[2, 3]], (a) => einsum('ab -> ', a)],
  [
    'conv2d',
    [
      [2, 5, 4, 3],
      [3, 3, 3, 2],
    ],
    (x, f) => conv2d(x, f, 1, 'same'),
  ],
  [
    'conv2d, strided',
    [
      [2, 6, 5, 3],
      [3, 2, 3, 2],
    ],
    (x, f) => conv2d(x, f, [2, 1], 'valid'),
  ],
  [
    'conv2d, strided, same',
    [
      [1, 6, 5, 2],
      [3, 3, 2, 4],
    ],
    (x, f) => conv2d(x, f, 2, 'same'),
  ],
  [
    'conv2d of a rectangle, padded',
    [
      [1, 4, 5, 2],
      [2, 3, 2, 3],
    ],
    (x, f) => conv2d(x, f, 1, 1),
  ],
  [
    'conv2d, padded widely',
    [
      [1, 3, 4, 2],
      [2, 2, 2, 3],
    ],
    (x, f) => conv2d(x, f, 1, 2),
  ],
  [
    'conv2d that leaves rows unread',
    [
      [2, 8, 9, 2],
      [3, 3, 2, 3],
    ],
    (x, f) => conv2d(x, f, 3, 'valid'),
  ],
  [
    'conv2d of points',
    [
      [2, 4, 5, 3],
      [1, 1, 3, 4],
    ],
    (x, f) => conv2d(x, f, 1, 'valid'),
  ],
  [
    'conv2d of points, strided',
    [
      [2, 5, 6, 3],
      [1, 1, 3, 4],
    ],
    (x, f) => conv2d(x, f, 2, 'same'),
  ],
  [
    'conv2dTranspose',
    [
      [2, 3, 4, 5],
      [3, 3, 2, 5],
    ],
    (x, f) => conv2dTranspose(x, f, [2, 6, 8, 2], 2, 'same'),
  ],
  [
    'fused conv2d',
    [[1, 4, 5, 2], [3, 3, 2, 3], [3]],
    (x, filter, bias) => fused.conv2d({ x, filter, bias, strides: 1, pad: 'same' }),
  ],
  [
    'depthwiseConv2d',
    [
      [2, 4, 5, 3],
      [3, 3, 3, 1],
    ],
    (x, f) => depthwiseConv2d(x, f, 1, 'same'),
  ],
  [
    'depthwiseConv2d, strided, two a channel',
    [
      [2, 6, 7, 3],
      [3, 2, 3, 2],
    ],
    (x, f) => depthwiseConv2d(x, f, 2, 'valid'),
  ],
  [
    'depthwiseConv2d, strided, padded',
    [
      [1, 7, 6, 2],
      [3, 3, 2, 1],
    ],
    (x, f) => depthwiseConv2d(x, f, 2, 1),
  ],
  [
    'depthwiseConv2d, padded widely',
    [
      [1, 3, 4, 2],
      [2, 2, 2, 2],
    ],
    (x, f) => depthwiseConv2d(x, f, 1, 2),
  ],
  [
    'depthwiseConv2d of a rectangle, padded',
    [
      [1, 4, 5, 2],
      [3, 2, 2, 2],
    ],
    (x, f) => depthwiseConv2d(x, f, 1, 1),
  ],
];

describe.each(testBackends)('gradients of tfjs on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it.each(singleInputCases)('agree with finite differences: %s', async (_, shape, op) => {
    const x = randomNormal(shape, 0, 1, 'float32', 3);
    await expectNoLeaks(() => checkGradient(op, [x], { step: 2e-3, tolerance: 1e-2 }));
    x.dispose();
  });

  it.each(multiInputCases)('agree with finite differences: %s', async (_, shapes, op) => {
    const inputs = shapes.map((shape, i) => randomNormal(shape, 0, 1, 'float32', i + 3));
    await expectNoLeaks(() => checkGradient(op, inputs));
    inputs.forEach((x) => x.dispose());
  });

  it('agree with finite differences: prod with zeros', () => {
    const x = tensor([
      [2, 0, 3],
      [0, 0, 5],
      [1, 2, 4],
    ]);
    checkGradient((y) => prod(y, 1), [x]);
    x.dispose();
  });
});

describe.each(testBackends)('kernels of tfjs on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  // Arguments: begin, end, strides, and the begin, end, ellipsis, new-axis and shrink-axis masks. Values from numpy.
  it.each<[string, Parameters<typeof stridedSlice> extends [any, ...infer R] ? R : never, number[], number[]]>([
    ['x[1, ::2, 3]', [[1, 0, 3], [2, 3, 4], [1, 2, 1], 0, 0b10, 0, 0, 0b101], [2], [15, 23]],
    ['x[:, 1, ::-2]', [[0, 1, 0], [2, 2, 0], [1, 1, -2], 0b100, 0b100, 0, 0, 0b10], [2, 2], [7, 5, 19, 17]],
    ['x[0, 2:0:-1, 1:4:2]', [[0, 2, 1], [1, 0, 4], [1, -1, 2], 0, 0, 0, 0, 0b1], [2, 2], [9, 11, 5, 7]],
    [
      'x[None, 1, ..., ::3]',
      [[0, 1, 0, 0], [0, 2, 0, 4], [1, 1, 1, 3], 0b1000, 0b1000, 0b100, 0b1, 0b10],
      [1, 3, 2],
      [12, 15, 16, 19, 20, 23],
    ],
    ['x[-1, 2:1:1, ::2]', [[-1, 2, 0], [0, 1, 4], [1, 1, 2], 0, 0, 0, 0, 0b1], [0, 2], []],
  ])('stridedSlice drops the axes of %s', (_, args, shape, values) => {
    const x = reshape(range(0, 24), [2, 3, 4]);
    const y = stridedSlice(x, ...args);
    expect(y.shape).toEqual(shape);
    expect([...y.dataSync()]).toEqual(values);
  });
});

describe.each(testBackends)('kernels of tfjs on %s, by dtype', (backend) => {
  beforeAll(() => useBackend(backend));

  it.each(['int32', 'bool', 'float32'] as const)('stridedSlice keeps the dtype and values of %s', (dtype) => {
    const values = [0, 1, 1, 0, 0, 1].map((value, i) =>
      dtype === 'bool' ? value : dtype === 'int32' ? 20_000_001 * i : i / 2,
    );
    const y = stridedSlice(tensor(values, [2, 3], dtype), [0, 0], [2, 3], [1, 2]);
    expect(y.dtype).toBe(dtype);
    expect([...y.dataSync()]).toEqual([0, 2, 3, 5].map((i) => values[i]));
  });

  it('gather with batchDims reads each example from its own slices', () => {
    const indices = tensor(
      [
        [1, 1, 0],
        [3, 2, 1],
      ],
      [2, 3],
      'int32',
    );
    const y = gather(reshape(range(0, 16, 1, 'int32'), [2, 4, 2]), indices, 1, 1);
    expect([y.dtype, ...y.shape]).toEqual(['int32', 2, 3, 2]);
    expect([...y.dataSync()]).toEqual([2, 3, 2, 3, 0, 1, 14, 15, 12, 13, 10, 11]);
  });
});

it('gradients of complex numbers throw with the reason', async () => {
  await useBackend('cpu');
  const x = tensor1d([1, 2]);
  expect(() => vjp((_, y) => real(complex(y!, y!)), {}, [x])).toThrow(/Real got a complex tensor, expected real ones/);
});

it('a padding that leaves part of the image unread throws on wasm', async () => {
  await useBackend('wasm');
  const x = zeros([1, 4, 5, 1]);
  expect(() => maxPool(x as Tensor4D, [2, 2], [2, 1], 1)).toThrow(/MaxPool: pad got 1 .*expected/);
  x.dispose();
});
