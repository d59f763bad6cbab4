import * as tf from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { bool, entry, float, int, named, none, type KernelCase } from './kernel-case.js';

const axes: [string, readonly number[], number | number[] | undefined, boolean][] = [
  ['', [2, 3, 4], undefined, false],
  [' of rows', [2, 3, 4], -1, false],
  [' of columns, keepDims', [2, 3, 4], [1], true],
  [' of images', [2, 3, 4, 5], [1, 2], false],
  [' over an axis of size 1', [3, 1], 1, false],
  [' of a scalar', [], undefined, false],
  [' of no axes', [2, 3], [], false],
];
const reductions: KernelCase[] = [
  ...named({ sum: tf.sum, mean: tf.mean, max: tf.max, min: tf.min, prod: tf.prod, logSumExp: tf.logSumExp }).flatMap(
    ([name, op]) =>
      axes
        .filter(([what]) => what !== ' of no axes' || name === 'sum')
        .map(([what, shape, axis, keep]) => entry(`${name}${what}`, [shape], (x) => op(x, axis, keep), { step: 2e-3 })),
  ),
  ...named({
    sum: tf.sum,
    mean: tf.mean,
    max: tf.max,
    min: tf.min,
    prod: tf.prod,
    cumsum: tf.cumsum,
    cumprod: (x: Tensor) => tf.cumprod(x, 1),
  }).map(([name, op]) => entry(`${name} of integers`, [int([2, 3, 2])], (x) => op(x, 1), none)),
  entry('sum of an empty tensor', [[3, 0]], (x) => tf.sum(x, 1)),
  entry('sum and all of booleans', [bool([3, 4])], (x) => tf.sum(x, 1), none),
  entry('norms', [[3, 4]], (x) => tf.add(tf.norm(x, 'euclidean', 1), tf.norm(x, 1, 1))),
  entry('moments', [[3, 4, 2]], (x) => {
    const { mean, variance } = tf.moments(x, [0, 1]);
    return tf.add(mean, variance);
  }),
  entry('all', [bool([3, 2, 4])], (x) => tf.all(x, 1), none),
  entry('any', [bool([3, 2, 4])], (x) => tf.any(x, [0, 2], true), none),
  entry(
    'argMax of many equal values',
    [[2, 200]],
    (x) => {
      const signs = tf.cast(tf.greater(x, 0), 'int32');
      return [tf.argMax(signs, 1), tf.argMin(signs, 1)];
    },
    none,
  ),
  entry('argMax', [[3, 4, 2]], (x) => [tf.argMax(x, 1), tf.argMax(x, -1), tf.argMin(x)], none),
  entry(
    'argMax of equal values',
    [float([2, 4], [1, 3, 3, 0, 2, 2, 1, 2])],
    (x) => [tf.argMax(x, 1), tf.argMin(x, 1)],
    none,
  ),
  entry('softmax', [[2, 3, 5]], (x) => tf.softmax(x)),
  entry('softmax of a row', [[7]], (x) => tf.softmax(x)),
  entry('logSoftmax', [[2, 3, 5]], (x) => tf.logSoftmax(x)),
  entry(
    'LogSoftmax of columns',
    [[2, 3, 5]],
    (x) => tf.engine().runKernel('LogSoftmax', { logits: x }, { axis: 1 }) as Tensor,
    { ...none, eager: (x) => tf.sub(x, tf.logSumExp(x, 1, true)) },
  ),
  entry(
    'Softmax of columns',
    [[2, 3, 5]],
    (x) => tf.engine().runKernel('Softmax', { logits: x }, { dim: 1 }) as Tensor,
    { ...none, eager: (x) => tf.exp(tf.sub(x, tf.logSumExp(x, 1, true))) },
  ),
  entry('cumsum', [[3, 4]], (x) => tf.cumsum(x, 1)),
  entry('cumsum of columns, exclusive, backwards', [[3, 4, 2]], (x) => tf.cumsum(x, 1, true, true)),
  entry('cumprod', [[3, 5]], (x) => tf.cumprod(x, 1), none),
  entry('cumprod of columns, exclusive, backwards', [[5, 2]], (x) => tf.cumprod(x, 0, true, true), none),
  entry('bincount', [int([7], [0, 2, 2, 5, 1, 2, 9])], (x) => tf.bincount(x, tf.tensor1d([]), 6), none),
  entry('bincount, weighted', [int([4], [0, 2, 2, 5]), [4]], (x, w) => tf.bincount(x, w, 6), none),
  entry(
    'denseBincount',
    [int([2, 4], [0, 2, 2, 3, 1, 1, 1, 4])],
    (x) =>
      tf.stack([
        tf.denseBincount(x, tf.tensor2d([], [0, 0]) as never, 4),
        tf.denseBincount(x, tf.tensor2d([], [0, 0]) as never, 4, true),
      ]),
    none,
  ),
];

const shapes: KernelCase[] = [
  entry('reshape', [[2, 3, 4]], (x) => tf.reshape(x, [4, -1])),
  entry('expandDims and squeeze', [[2, 1, 4]], (x) => tf.squeeze(tf.expandDims(tf.expandDims(x, -1), 0), [2])),
  entry('transpose', [[2, 3, 4, 5]], (x) => tf.transpose(x, [2, 0, 3, 1])),
  entry('transpose of booleans', [bool([2, 3, 4])], (x) => tf.transpose(x, [0, 2, 1]), none),
  entry('transpose of integers', [int([2, 3, 4])], (x) => tf.transpose(x, [0, 2, 1]), none),
  entry(
    'integers reduced to columns',
    [int([2, 3, 4])],
    (x) => [tf.max(x, 1), tf.min(x, 1), tf.sum(x, 1, true), tf.prod(x, 1), tf.argMax(x, 1), tf.argMin(x, 1)],
    none,
  ),
  entry('transpose of rank 5', [[2, 1, 3, 2, 2]], (x) => tf.transpose(x, [4, 2, 0, 1, 3])),
  entry('transposed twice, reshaped between', [[2, 3, 4]], (x) =>
    tf.transpose(tf.reshape(tf.transpose(x, [0, 2, 1]), [2, 2, 2, 3]), [3, 0, 1, 2]),
  ),
  entry(
    'concat',
    [
      [2, 1, 3],
      [2, 4, 3],
      [2, 2, 3],
    ],
    (...xs) => tf.concat(xs, 1),
  ),
  entry(
    'concat with an empty tensor',
    [
      [2, 0],
      [2, 3],
    ],
    (...xs) => tf.concat(xs, 1),
    { wrt: [1] },
  ),
  entry(
    'concat of integers and booleans',
    [int([2]), int([3]), bool([2]), bool([1])],
    (a, b, c, d) => [tf.concat([a, b]), tf.concat([c, d])],
    none,
  ),
  entry(
    'stack',
    [
      [2, 3],
      [2, 3],
    ],
    (...xs) => tf.stack(xs, -1),
  ),
  entry('unstack', [[2, 3, 4]], (x) => {
    const [a, b, c] = tf.unstack(x, 1) as [Tensor, Tensor, Tensor];
    return tf.add(tf.mul(a, b), c);
  }),
  entry('split', [[2, 7]], (x) => {
    const [a, b, c] = tf.split(x, [2, 3, 2], 1) as [Tensor, Tensor, Tensor];
    return tf.mul(tf.sum(b), tf.mul(a, c));
  }),
  entry('slice', [[3, 4, 5]], (x) => tf.slice(x, [1, 0, 2], [2, -1, 2])),
  entry('slice to an empty tensor', [[3, 4]], (x) => tf.slice(x, [1, 2], [0, 2])),
  entry('pad', [[2, 3]], (x) =>
    tf.pad(
      x,
      [
        [1, 0],
        [2, 3],
      ],
      0.5,
    ),
  ),
  entry('pad of integers', [int([3])], (x) => tf.pad(x, [[1, 2]], 7), none),
  entry('reverse', [[2, 3, 4]], (x) => tf.reverse(x, [0, -1])),
  entry('flipLeftRight', [[2, 3, 4, 2]], (x) => tf.image.flipLeftRight(x), none),
  entry('tile', [[2, 3]], (x) => tf.tile(x, [3, 2])),
  entry('tile at rank 5', [[2, 1, 3, 1, 2]], (x) => tf.tile(x, [2, 1, 2, 3, 1])),
  entry('broadcastTo', [[3, 1]], (x) => tf.broadcastTo(x, [2, 3, 4])),
  entry(
    'BroadcastTo',
    [[3, 1]],
    (x) => tf.engine().runKernel('BroadcastTo', { x }, { shape: [2, 3, 4], inputShape: [3, 1] }) as Tensor,
    { ...none, eager: (x) => tf.broadcastTo(x, [2, 3, 4]) },
  ),
  entry('fill, range and linspace', [[3, 4]], (x) =>
    tf.add(tf.add(x, tf.fill([3, 1], 2)), tf.add(tf.range(0, 4), tf.linspace(-1, 2, 4))),
  ),
  entry('ranges of integers', [int([4])], (x) => tf.add(x, tf.range(7, -1, -2, 'int32')), none),
  entry('diag', [[2, 2]], (x) => tf.diag(tf.reshape(x, [4])), none),
  entry('eye and bandPart', [[3, 4]], (x) => tf.add(tf.linalg.bandPart(x, 1, 1), tf.eye(3, 4))),
  entry('meshgrid', [[3], [2]], (x, y) => {
    const [a, b] = tf.meshgrid(x, y) as [Tensor, Tensor];
    return tf.mul(a, b);
  }),
  entry('BroadcastArgs', [int([3], [2, 1, 5]), int([2], [4, 1])], (a, b) => tf.broadcastArgs(a, b), none),
  entry('stridedSlice', [[7, 5, 4]], (x) => tf.stridedSlice(x, [1, 0, 1], [7, 5, 3], [2, 3, 1])),
  entry('stridedSlice, backwards', [[7, 5]], (x) => tf.stridedSlice(x, [-1, 3], [0, 0], [-2, -1])),
  entry('stridedSlice, backwards to the start', [[6, 5]], (x) => tf.stridedSlice(x, [5, 3], [0, 0], [-2, -1], 0, 0b11)),
  entry('stridedSlice, backwards from the middle', [[6, 5]], (x) => tf.stridedSlice(x, [4, 1], [0, 5], [-1, 2])),
  entry('stridedSlice, masked', [[4, 5, 6]], (x) =>
    tf.stridedSlice(x, [1, 0, 9, 2], [3, 0, 9, 5], [1, 1, 1, 2], 0b1, 0b1, 0b10, 0b100, 0),
  ),
  entry('stridedSlice, shrunk', [[4, 5, 6]], (x) =>
    tf.stridedSlice(x, [1, 2, 0], [2, 3, 6], [1, 1, 2], 0, 0, 0, 0, 0b10),
  ),
  entry('mirrorPad, reflected', [[2, 4, 5]], (x) =>
    tf.mirrorPad(
      x,
      [
        [1, 0],
        [2, 3],
        [0, 4],
      ],
      'reflect',
    ),
  ),
  entry('mirrorPad, symmetric', [[1, 4, 5]], (x) =>
    tf.mirrorPad(
      x,
      [
        [1, 1],
        [2, 4],
        [0, 1],
      ],
      'symmetric',
    ),
  ),
  entry('depthToSpace', [[2, 3, 2, 12]], (x) => tf.depthToSpace(x, 2)),
  entry('spaceToBatchND', [[2, 3, 4, 2]], (x) =>
    tf.spaceToBatchND(
      x,
      [2, 3],
      [
        [1, 0],
        [0, 2],
      ],
    ),
  ),
  entry('batchToSpaceND', [[12, 2, 2, 1]], (x) =>
    tf.batchToSpaceND(
      x,
      [2, 3],
      [
        [1, 0],
        [0, 2],
      ],
    ),
  ),
];

const indexed: KernelCase[] = [
  entry('gather', [[4, 3, 2], int([3], [2, 0, 2])], (x, i) => tf.gather(x, i)),
  entry('gather of a matrix of indices', [[3, 4, 2], int([2, 3], [1, 3, 1, 0, 1, 2])], (x, i) => tf.gather(x, i, 1)),
  entry('gather in batches', [[2, 4, 3], int([2, 3], [1, 1, 0, 3, 2, 1])], (x, i) => tf.gather(x, i, 1, 1)),
  entry('gather in batches, last axis', [[2, 3, 4], int([2, 2], [1, 1, 3, 2])], (x, i) => tf.gather(x, i, -1, 1)),
  entry('gather of integers', [int([4, 3]), int([3], [2, 0, 2])], (x, i) => tf.gather(x, i), none),
  entry('gatherND', [[3, 4, 2], int([5, 2], [0, 1, 2, 3, 2, 3, 1, 0, 0, 0])], (x, i) => tf.gatherND(x, i), none),
  entry('scatterND', [int([4, 1], [1, 3, 1, 0]), [4, 2]], (i, x) => tf.scatterND(i, x, [5, 2]), none),
  entry(
    'tensorScatterUpdate',
    [[5, 2], int([2, 1], [3, 0]), [2, 2]],
    (x, i, y) => tf.tensorScatterUpdate(x, i, y),
    none,
  ),
  entry('sparseToDense', [int([3, 2], [0, 1, 2, 3, 1, 0]), [3]], (i, x) => tf.sparseToDense(i, x, [3, 4], 0.5), none),
  entry('sparseToDense of one value', [int([2], [3, 1])], (i) => tf.sparseToDense(i, tf.scalar(2), [5], 0), none),
  entry('unsortedSegmentSum', [[5, 3], int([5], [2, 0, 2, 3, 0])], (x, i) => tf.unsortedSegmentSum(x, i, 5)),
  entry(
    'unsortedSegmentSum of rows without a segment',
    [[5, 3], int([5], [2, -1, 2, 3, 0])],
    (x, i) => tf.unsortedSegmentSum(x, i, 3),
    none,
  ),
  entry('oneHot', [int([2, 3], [0, 2, 1, 3, 2, 0])], (i) => tf.oneHot(i, 4), none),
  entry('oneHot of no class', [int([3], [-1, 2, 4])], (i) => tf.oneHot(i, 4, 0.9, 0.1), none),
  entry('oneHot, multiplied', [int([3], [1, 0, 2]), [3, 4]], (i, x) => tf.mul(tf.oneHot(i, 4), x)),
  entry('topk', [[3, 2, 7]], (x) => {
    const { values, indices } = tf.topk(x, 3);
    return [values, indices];
  }),
  entry(
    'topk of equal values',
    [float([6], [1, 3, 3, 0, 3, 2])],
    (x) => [tf.topk(x, 4).indices, tf.topk(x, 6).values],
    none,
  ),
  entry('dropout that is seeded', [[40]], (x) => tf.dropout(x, 0.5, undefined, 7)),
];

/** Ops that reduce, move, gather and scatter elements. */
export const tensorCases: readonly KernelCase[] = [...reductions, ...shapes, ...indexed];
