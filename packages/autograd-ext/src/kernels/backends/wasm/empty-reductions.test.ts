import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { testBackends } from '../../../../../../fixtures/engines.js';
import { useBackend } from '../../../backend.js';

describe.each(testBackends.filter((name) => name !== 'tensorflow'))('on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it.each([
    ['sum', 0],
    ['mean', 0],
    ['prod', 1],
    ['max', NaN],
    ['min', NaN],
    ['all', 0],
    ['any', 0],
  ] as const)('%s of no values is %d', (name, value) => {
    const isBool = name === 'all' || name === 'any';
    tf.tidy(() => {
      tf.dispose(tf.fill([64], 7)); // values in the memory that the result gets
      const empty = tf.zeros([3, 0], isBool ? 'bool' : 'float32');
      expect([...tf[name](empty, 1).dataSync()]).toEqual([value, value, value]);
      expect([...tf[name](empty).dataSync()]).toEqual([value]);
    });
  });

  it.each([
    ['matMul', () => tf.matMul(tf.zeros([2, 0]), tf.zeros([0, 3]))],
    ['einsum', () => tf.einsum('ij,jk->ik', tf.zeros([2, 0]), tf.zeros([0, 3]))],
  ])('%s over no values is 0', (_, product) => {
    tf.tidy(() => {
      tf.dispose(tf.fill([6], 7)); // values in the memory that the result gets
      expect([...product().dataSync()]).toEqual([0, 0, 0, 0, 0, 0]);
    });
  });
});
