import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectNoLeaks } from '../../../testing/index.js';
import { useBackend } from '../../../backend.js';
import { broadcastFasterOnCpu } from './broadcast.js';

const shapes: readonly (readonly [number[], number[]])[] = [
  [[], [2, 3]],
  [[2, 3], []],
  [[1], [2, 3]],
  [[3], [2, 3]],
  [
    [2, 1],
    [2, 3],
  ],
  [
    [2, 1],
    [1, 3],
  ],
  [
    [4, 1, 3, 1],
    [5, 1, 2],
  ],
  [
    [2, 3, 1, 4],
    [1, 3, 5, 1],
  ],
  [
    [0, 3],
    [1, 3],
  ],
];
const binary = [
  'add',
  'sub',
  'mul',
  'div',
  'pow',
  'maximum',
  'minimum',
  'squaredDifference',
  'mod',
  'atan2',
  'less',
] as const;

/** Values of a tensor, repeated to a shape with tf.tile. */
const tiled = (x: tf.Tensor, shape: readonly number[]): tf.Tensor => {
  const aligned = tf.reshape(x, [...Array<number>(shape.length - x.rank).fill(1), ...x.shape]);
  return tf.tile(
    aligned,
    shape.map((length, axis) => (aligned.shape[axis] === length ? 1 : length)),
  );
};

describe('broadcasting on cpu', () => {
  beforeAll(() => useBackend('cpu'));

  it.each(shapes)('of %j with %j equals the same op on repeated values', (left, right) =>
    expectNoLeaks(() =>
      tf.tidy(() => {
        const a = tf.randomUniform(left, 0.5, 3, 'float32', 1);
        const b = tf.randomUniform(right, 0.5, 3, 'float32', 2);
        const shape = tf.backend_util.assertAndGetBroadcastShape(left, right);
        for (const name of binary)
          expect([...tf[name](a, b).dataSync()], name).toEqual([
            ...tf[name](tiled(a, shape), tiled(b, shape)).dataSync(),
          ]);
      }),
    ),
  );

  it('keeps integers, booleans, strings and complex numbers', () =>
    tf.tidy(() => {
      const sum = tf.add(tf.tensor1d([1, 2], 'int32'), tf.tensor2d([[3], [4]], [2, 1], 'int32'));
      expect([sum.dtype, ...sum.dataSync()]).toEqual(['int32', 4, 5, 5, 6]);
      const both = tf.logicalAnd(tf.tensor1d([true, false], 'bool'), tf.scalar(true, 'bool'));
      expect([both.dtype, ...both.dataSync()]).toEqual(['bool', 1, 0]);
      expect([...tf.equal(tf.tensor1d(['a', 'b']), tf.scalar('b')).dataSync()]).toEqual([0, 1]);
      expect([...tf.real(tf.add(tf.complex([1, 2], [3, 4]), tf.complex([5], [6]))).dataSync()]).toEqual([6, 7]);
    }));

  it('replaces the kernels that are registered, once', () => {
    const kernel = tf.getKernel('Add', 'cpu');
    broadcastFasterOnCpu();
    expect(tf.getKernel('Add', 'cpu')).toBe(kernel);
  });
});
