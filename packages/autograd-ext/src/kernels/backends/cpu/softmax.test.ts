import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../../../backend.js';
import { expectNoLeaks } from '../../../testing/index.js';

/** The softmax as tfjs composes it. */
const composed = (x: tf.Tensor): tf.Tensor => {
  const exps = tf.exp(tf.sub(x, tf.max(x, -1, true)));
  return tf.div(exps, tf.sum(exps, -1, true));
};

describe('softmax on cpu', () => {
  beforeAll(() => useBackend('cpu'));

  it.each([[[7]], [[3, 5]], [[2, 3, 1]], [[2, 0]], [[0, 4]], [[2, 3, 4, 129]]] as const)(
    'of shape %j has the bits of the composed ops',
    (shape) =>
      expectNoLeaks(() =>
        tf.tidy(() => {
          const x = tf.randomNormal([...shape], 0, 20, 'float32', 1);
          const y = tf.softmax(x);
          expect(y.shape).toEqual(shape);
          expect([...y.dataSync()]).toEqual([...composed(x).dataSync()]);
        }),
      ),
  );

  it.each([
    ['NaN', [1, NaN, 2]],
    ['infinity', [1, Infinity, 2]],
    ['minus infinity', [1, -Infinity, 2]],
    ['nothing but minus infinity', [-Infinity, -Infinity]],
  ])('treats %s like the composed ops', (_, values) =>
    tf.tidy(() => {
      const x = tf.tensor1d(values);
      expect([...tf.softmax(x).dataSync()]).toEqual([...composed(x).dataSync()]);
    }),
  );
});
