import * as tf from '@tensorflow/tfjs-core';
import {
  conv2d,
  geglu,
  gelu,
  groupNorm,
  layerNorm,
  linear,
  quickGelu,
  resize,
  scaledDotProductAttention,
  silu,
  upsampleNearest,
} from '../../../index.js';
import { entry, float, int, named, none, type KernelCase } from './kernel-case.js';

const matrices: KernelCase[] = [
  entry(
    'matMul',
    [
      [3, 4],
      [4, 5],
    ],
    (a, b) => tf.matMul(a, b),
  ),
  entry(
    'matMul of transposes',
    [
      [4, 3],
      [5, 4],
    ],
    (a, b) => tf.matMul(a, b, true, true),
  ),
  entry(
    'matMul of rows and columns',
    [
      [1, 4],
      [4, 1],
    ],
    (a, b) => tf.matMul(a, b),
  ),
  entry(
    'matMul of batches',
    [
      [2, 3, 4],
      [2, 4, 5],
    ],
    (a, b) => tf.matMul(a, b),
  ),
  entry(
    'matMul, batches broadcast',
    [
      [2, 5, 3, 4],
      [1, 1, 4, 2],
    ],
    (a, b) => tf.matMul(a, b),
  ),
  entry(
    'matMul of batches with one matrix, transposed',
    [
      [2, 4, 3],
      [1, 5, 4],
    ],
    (a, b) => tf.matMul(a, b, true, true),
  ),
  entry(
    'matMul over an inner dimension of 0',
    [
      [3, 0],
      [0, 2],
    ],
    (a, b) => tf.matMul(a, b),
    { without: ['wasm'] },
  ),
  entry('matMul of integers', [int([3, 4]), int([4, 2])], (a, b) => tf.matMul(a, b), { ...none, without: ['wasm'] }),
  entry('dot', [[4], [4, 3]], (a, b) => tf.dot(a, b)),
  entry('outerProduct', [[4], [3]], (a, b) => tf.outerProduct(a, b)),
  entry(
    'einsum of batches',
    [
      [2, 3, 4, 5],
      [2, 6, 4, 5],
    ],
    (a, b) => tf.einsum('bqhc,bkhc->bhqk', a, b),
  ),
  entry(
    'einsum with sums in one operand',
    [
      [2, 3, 4],
      [5, 2],
    ],
    (a, b) => tf.einsum('abc,da->bd', a, b),
  ),
  entry(
    'einsum, inner',
    [
      [3, 4],
      [4, 3],
    ],
    (a, b) => tf.einsum('ij,ji->', a, b),
  ),
  entry('einsum of one operand', [[2, 3, 4]], (a) => tf.einsum('abc->ca', a)),
  ...(['relu', 'relu6', 'elu', 'sigmoid', 'leakyrelu', 'linear'] as const).map((activation) =>
    entry(
      `fused matMul, ${activation}`,
      [[3, 4], [4, 5], [5]],
      (a, b, bias) => tf.fused.matMul({ a, b, bias, activation, leakyreluAlpha: 0.3 }),
      { step: 2e-3, ...(['sigmoid', 'leakyrelu'].includes(activation) && none) },
    ),
  ),
  entry(
    'fused matMul, prelu',
    [[3, 4], [4, 5], [5], [1, 5]],
    (a, b, bias, preluActivationWeights) =>
      tf.fused.matMul({ a, b, bias, activation: 'prelu', preluActivationWeights }),
    none,
  ),
];

const convolutions: KernelCase[] = [
  entry(
    'tf.conv2d',
    [
      [2, 5, 4, 3],
      [3, 3, 3, 2],
    ],
    (x, f) => tf.conv2d(x, f, 1, 'same'),
  ),
  entry(
    'tf.conv2d, strided',
    [
      [2, 6, 5, 3],
      [3, 2, 3, 2],
    ],
    (x, f) => tf.conv2d(x, f, [2, 1], 'valid'),
  ),
  entry(
    'tf.conv2d, strided, same',
    [
      [1, 6, 5, 2],
      [3, 3, 2, 4],
    ],
    (x, f) => tf.conv2d(x, f, 2, 'same'),
  ),
  entry(
    'tf.conv2d, strided beyond the filter',
    [
      [1, 7, 8, 2],
      [2, 2, 2, 3],
    ],
    (x, f) => tf.conv2d(x, f, 3, 'valid'),
  ),
  entry(
    'tf.conv2d, padded edge by edge',
    [
      [1, 4, 5, 2],
      [2, 3, 2, 3],
    ],
    (x, f) =>
      tf.conv2d(x, f, 1, [
        [0, 0],
        [1, 0],
        [0, 2],
        [0, 0],
      ]),
  ),
  entry(
    'tf.conv2d, padded by a number',
    [
      [1, 5, 5, 2],
      [3, 3, 2, 3],
    ],
    (x, f) => tf.conv2d(x, f, 1, 1),
  ),
  entry(
    'tf.conv2d, dilated',
    [
      [1, 6, 7, 2],
      [3, 2, 2, 3],
    ],
    (x, f) => tf.conv2d(x, f, 1, 'same', 'NHWC', 2),
    none,
  ),
  entry(
    'tf.conv2d, channels first',
    [
      [1, 2, 5, 4],
      [3, 3, 2, 3],
    ],
    (x, f) => tf.conv2d(x, f, 1, 'same', 'NCHW'),
    { ...none, without: ['wasm'] },
  ),
  entry(
    'tf.conv2d 1x1',
    [
      [2, 3, 2, 4],
      [1, 1, 4, 3],
    ],
    (x, f) => tf.conv2d(x, f, 1, 'valid'),
  ),
  entry(
    'conv2d of a filter-sized image',
    [
      [2, 2, 2, 3],
      [2, 2, 3, 4],
    ],
    (x, f) => tf.conv2d(x, f, 1, 'same'),
  ),
  entry(
    'tf.conv1d',
    [
      [2, 7, 3],
      [3, 3, 2],
    ],
    (x, f) => tf.conv1d(x, f, 2, 'same'),
  ),
  entry(
    'tf.conv2dTranspose',
    [
      [2, 3, 2, 3],
      [3, 3, 2, 3],
    ],
    (x, f) => tf.conv2dTranspose(x, f, [2, 6, 4, 2], 2, 'same'),
  ),
  entry(
    'tf.conv3d',
    [
      [1, 4, 5, 3, 2],
      [2, 3, 2, 2, 3],
    ],
    (x, f) => tf.conv3d(x, f, 1, 'same'),
    { without: ['wasm', 'webgpu'] },
  ),
  entry(
    'tf.conv3d, strided',
    [
      [2, 5, 5, 4, 2],
      [2, 3, 2, 2, 2],
    ],
    (x, f) => tf.conv3d(x, f, 2, 'valid'),
    { without: ['wasm', 'webgpu'] },
  ),
  entry(
    'tf.depthwiseConv2d',
    [
      [2, 4, 5, 3],
      [3, 3, 3, 1],
    ],
    (x, f) => tf.depthwiseConv2d(x, f, 1, 'same'),
  ),
  entry(
    'tf.depthwiseConv2d, strided, two filters per channel',
    [
      [2, 6, 7, 3],
      [3, 2, 3, 2],
    ],
    (x, f) => tf.depthwiseConv2d(x, f, 2, 'valid'),
  ),
  entry(
    'tf.depthwiseConv2d, strided, padded',
    [
      [1, 7, 6, 2],
      [3, 3, 2, 1],
    ],
    (x, f) => tf.depthwiseConv2d(x, f, 2, 1),
  ),
  entry(
    'tf.depthwiseConv2d of one channel',
    [
      [1, 4, 5, 1],
      [3, 2, 1, 2],
    ],
    (x, f) => tf.depthwiseConv2d(x, f, 1, 'same'),
  ),
  entry(
    'tf.separableConv2d',
    [
      [1, 4, 5, 2],
      [3, 3, 2, 2],
      [1, 1, 4, 3],
    ],
    (x, d, p) => tf.separableConv2d(x, d, p, 1, 'same'),
  ),
  ...(['relu', 'relu6', 'elu', 'linear'] as const).flatMap((activation) => [
    entry(
      `fused conv2d, ${activation}`,
      [[1, 4, 5, 2], [3, 3, 2, 3], [3]],
      (x, filter, bias) => tf.fused.conv2d({ x, filter, bias, strides: 1, pad: 'same', activation }),
      { step: 1e-3, tolerance: 1e-4 },
    ),
    entry(
      `fused depthwiseConv2d, ${activation}`,
      [[1, 4, 5, 2], [3, 2, 2, 2], [4]],
      (x, filter, bias) => tf.fused.depthwiseConv2d({ x, filter, bias, strides: 1, pad: 'same', activation }),
      { step: 1e-3, tolerance: 1e-4 },
    ),
  ]),
  entry(
    'fused conv2d, prelu',
    [[1, 4, 5, 2], [3, 3, 2, 3], [3], [1, 1, 3]],
    (x, filter, bias, preluActivationWeights) =>
      tf.fused.conv2d({ x, filter, bias, strides: 2, pad: 'same', activation: 'prelu', preluActivationWeights }),
    none,
  ),
  entry(
    'dilation2d',
    [
      [2, 5, 4, 3],
      [2, 3, 3],
    ],
    (x, f) => tf.dilation2d(x, f, 1, 'same'),
    { step: 1e-3, without: ['wasm'] },
  ),
  entry(
    'dilation2d, strided, dilated',
    [
      [1, 7, 8, 2],
      [3, 2, 2],
    ],
    (x, f) => tf.dilation2d(x, f, [2, 1], 'valid', [1, 2]),
    { step: 1e-3, without: ['wasm'] },
  ),
];

const run = (kernel: string, inputs: object, attrs: object) =>
  tf.engine().runKernel(kernel, inputs as never, attrs as never) as tf.Tensor;
const pools: KernelCase[] = [
  ...named({ maxPool: tf.maxPool, avgPool: tf.avgPool }).flatMap(([name, pool]) => [
    entry(name, [[2, 6, 4, 3]], (x) => pool(x, 2, 2, 'valid'), { step: 1e-3 }),
    entry(`${name} with a border`, [[2, 5, 4, 2]], (x) => pool(x, 3, 2, 'same'), { step: 1e-3 }),
    entry(`${name}, overlapping, padded`, [[1, 5, 5, 1]], (x) => pool(x, 3, 1, 1), { step: 1e-3 }),
    entry(`${name}, rest left over`, [[1, 8, 6, 2]], (x) => pool(x, [3, 2], [3, 4], 'valid'), { step: 1e-3 }),
    entry(`${name}, rounded up`, [[1, 6, 7, 2]], (x) => pool(x, 3, 2, 1, 'ceil'), { step: 1e-3, without: ['wasm'] }),
  ]),
  entry('maxPool of negative values', [[2, 5, 4, 2]], (x) => tf.maxPool(tf.neg(tf.mul(x, x)) as never, 3, 2, 'same'), {
    step: 1e-3,
  }),
  entry('pool, dilated', [[1, 7, 6, 2]], (x) => tf.pool(x, [2, 2], 'avg', 'valid', [2, 2])),
  entry('maxPool3d', [[1, 4, 5, 3, 2]], (x) => tf.maxPool3d(x, 2, 2, 'same'), { step: 1e-3, without: ['webgpu'] }),
  entry('avgPool3d', [[2, 4, 4, 2, 2]], (x) => tf.avgPool3d(x, 2, 2, 'valid'), { without: ['webgpu'] }),
  ...(['MaxPool', 'AvgPool'] as const).map((name) =>
    entry(
      `${name}Grad`,
      [
        [2, 6, 4, 3],
        [2, 3, 2, 3],
      ],
      (x, dy) =>
        run(
          `${name}Grad`,
          { dy, input: x, output: tf.maxPool(x, 2, 2, 'valid') },
          { filterSize: 2, strides: 2, pad: 'valid' },
        ),
      { ...none, without: ['wasm'] },
    ),
  ),
  ...(['ResizeBilinear', 'ResizeNearestNeighbor'] as const).map((name) =>
    entry(
      `${name}Grad`,
      [
        [1, 4, 4, 2],
        [1, 5, 3, 2],
      ],
      (images, dy) => run(`${name}Grad`, { dy, images }, { alignCorners: false, halfPixelCenters: false }),
      none,
    ),
  ),
  entry('batchNorm', [[2, 3, 2, 4], [4], float([4], 'positive'), [4], [4]], (x, m, v, o, s) =>
    tf.batchNorm(x, m, v, o, s),
  ),
  entry('batchNorm without scale and offset', [[2, 3, 2, 4], [4], float([4], 'positive')], (x, m, v) =>
    tf.batchNorm(x, m, v),
  ),
  entry('batchNorm of rows', [[3, 4], [4], float([4], 'positive'), [4]], (x, m, v, o) =>
    tf.batchNorm(x, m, v, o, undefined, 1e-2),
  ),
  entry('localResponseNormalization', [[2, 3, 2, 5]], (x) => tf.localResponseNormalization(x, 1, 1, 0.5, 0.7)),
  entry('resizeBilinear', [[2, 3, 4, 2]], (x) => tf.image.resizeBilinear(x, [5, 7])),
  entry('resizeBilinear, aligned corners', [[2, 3, 4, 2]], (x) => tf.image.resizeBilinear(x, [5, 2], true)),
  entry('resizeBilinear, half pixels', [[2, 7, 3, 2]], (x) => tf.image.resizeBilinear(x, [3, 5], false, true)),
  entry('resizeNearestNeighbor', [[2, 3, 4, 2]], (x) => tf.image.resizeNearestNeighbor(x, [6, 3])),
  entry('resizeNearestNeighbor, aligned corners', [[2, 3, 4, 2]], (x) =>
    tf.image.resizeNearestNeighbor(x, [5, 2], true),
  ),
  entry('resizeNearestNeighbor, half pixels', [[2, 3, 4, 2]], (x) =>
    tf.image.resizeNearestNeighbor(x, [5, 3], false, true),
  ),
  entry(
    'cropAndResize',
    [
      [2, 5, 6, 3],
      float([3, 4], [0.11, 0.13, 0.87, 0.92, -0.2, 0.1, 1.13, 0.7, 0.9, 0.8, 0.1, 0.31]),
      int([3], [1, 0, 1]),
    ],
    (x, b, i) => tf.image.cropAndResize(x, b, i, [4, 3]),
    { wrt: [0] },
  ),
  entry('cropAndResize of boxes that move', [[2, 5, 6, 3], [3, 4], int([3], [1, 0, 1])], (x, b, i) =>
    tf.image.cropAndResize(x, tf.add(tf.tensor1d([0.11, 0.13, 0.87, 0.92]), tf.mul(b, 0.02)), i, [4, 3]),
  ),
  entry(
    'cropAndResize to one pixel, filled outside',
    [[1, 5, 6, 2], float([2, 4], [0.1, 0.2, 0.7, 0.9, 1.2, 0, 1.4, 1]), int([2], [0, 0])],
    (x, b, i) => tf.image.cropAndResize(x, b, i, [1, 1], 'bilinear', 0.7),
    { wrt: [0] },
  ),
  entry(
    'cropAndResize, nearest',
    [[2, 5, 6, 3], float([2, 4], [0.1, 0.2, 0.9, 0.87, -0.2, 0.1, 1.1, 0.72]), int([2], [1, 0])],
    (x, b, i) => tf.image.cropAndResize(x, b, i, [4, 3], 'nearest'),
    { wrt: [0] },
  ),
  entry(
    'cropAndResize of boxes that move, nearest',
    [[1, 5, 6, 3], float([1, 4], [0.1, 0.2, 0.9, 0.87]), int([1], [0])],
    (x, b, i) => tf.add(tf.sum(tf.image.cropAndResize(x, b, i, [4, 3], 'nearest')), tf.sum(b)),
    { step: 1e-4 },
  ),
];

const ours: KernelCase[] = [
  entry('linear', [[2, 3, 5], [7, 5], [7]], linear),
  entry(
    'linear of one row and channel',
    [
      [1, 1],
      [3, 1],
    ],
    linear,
  ),
  entry('conv2d 3x3', [[2, 5, 4, 3], [6, 3, 3, 3], [6]], (x, w, b) => conv2d(x, w, b, { padding: 1 })),
  entry('conv2d stride 2', [[2, 6, 5, 3], [4, 3, 3, 3], [4]], (x, w, b) => conv2d(x, w, b, { stride: 2, padding: 1 })),
  entry('conv2d stride 2, even, uneven border', [[2, 6, 4, 2], [3, 2, 3, 3], [3]], (x, w, b) =>
    conv2d(x, w, b, { stride: 2, padding: [0, 1, 0, 1] }),
  ),
  entry(
    'conv2d of patches',
    [
      [2, 7, 8, 3],
      [4, 3, 3, 3],
    ],
    (x, w) => conv2d(x, w, undefined, { stride: 3 }),
  ),
  entry('conv2d of a rectangle', [[1, 5, 7, 2], [2, 2, 1, 4], [2]], (x, w, b) =>
    conv2d(x, w, b, { padding: [0, 0, 1, 2] }),
  ),
  entry('conv2d 1x1', [[2, 3, 2, 4], [5, 4, 1, 1], [5]], (x, w, b) => conv2d(x, w, b)),
  entry(
    'conv2d 1x1 stride 2',
    [
      [2, 3, 5, 4],
      [5, 4, 1, 1],
    ],
    (x, w) => conv2d(x, w, undefined, { stride: 2 }),
  ),
  entry('groupNorm', [[2, 3, 4, 6], [6], [6]], (x, w, b) => groupNorm(x, w, b, { groups: 3, eps: 1e-5 }), {
    tolerance: 1e-4,
  }),
  entry(
    'groupNorm of single channels',
    [[1, 1, 7, 4], [4], [4]],
    (x, w, b) => groupNorm(x, w, b, { groups: 4, eps: 1e-5 }),
    { tolerance: 1e-4 },
  ),
  entry('layerNorm', [[2, 3, 7], [7], [7]], (x, w, b) => layerNorm(x, w, b, { eps: 1e-5 }), { tolerance: 1e-4 }),
  entry('silu', [[2, 3, 5]], silu),
  entry('gelu', [[2, 3, 5]], gelu),
  entry('quickGelu', [[2, 3, 5]], quickGelu),
  entry('geglu', [[2, 3, 10]], geglu),
  entry(
    'attention',
    [
      [2, 5, 6],
      [2, 3, 6],
      [2, 3, 6],
    ],
    (q, k, v) => scaledDotProductAttention(q, k, v, { heads: 2 }),
  ),
  entry(
    'attention, causal',
    [
      [2, 5, 4],
      [2, 5, 4],
      [2, 5, 4],
    ],
    (q, k, v) => scaledDotProductAttention(q, k, v, { heads: 2, causal: true }),
  ),
  entry(
    'attention of one head, scaled',
    [
      [1, 3, 5],
      [1, 7, 5],
      [1, 7, 5],
    ],
    (q, k, v) => scaledDotProductAttention(q, k, v, { heads: 1, scale: 0.7 }),
  ),
  entry(
    'attention to one key',
    [
      [2, 3, 3],
      [2, 1, 3],
      [2, 1, 3],
    ],
    (q, k, v) => scaledDotProductAttention(q, k, v, { heads: 3 }),
  ),
  entry('resize bilinear', [[2, 5, 7, 3]], (x) => resize(x, [3, 9], { mode: 'bilinear' })),
  entry('resize bicubic', [[2, 6, 4, 1]], (x) => resize(x, [4, 7], { mode: 'bicubic' })),
  entry('upsampleNearest x2', [[2, 3, 4, 3]], (x) => upsampleNearest(x, [6, 8])),
  entry('upsampleNearest to an odd size', [[2, 3, 4, 2]], (x) => upsampleNearest(x, [5, 7])),
];

/** The layers of networks: those of tfjs and of this package. */
export const networkCases: readonly KernelCase[] = [...matrices, ...convolutions, ...pools, ...ours];
