import { scalar, tensor, tensor1d, type Tensor } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { scoreNumbers, scoresTensor } from './returned-scores.js';

beforeAll(() => useBackend('cpu'));

/** Returns disposed tensors, as a reward that tidies too much does. */
const disposed = (): Tensor => {
  const t = tensor1d([1, 2]);
  t.dispose();
  return t;
};

class Score {
  readonly value = 1;
}

/** Values that rewards of two images return, and how they are taken: the scores, or the words that refuse them. */
const forTwo: readonly (readonly [name: string, value: () => unknown, taken: number[] | RegExp])[] = [
  ['a tensor [2]', () => tensor1d([1, 2]), [1, 2]],
  ['a tensor [2, 1]', () => tensor([1, 2], [2, 1]), [1, 2]],
  ['a tensor of integers', () => tensor1d([1, 2], 'int32'), [1, 2]],
  ['an array of numbers', () => [1, 2], [1, 2]],
  ['a column of numbers', () => [[1], [2]], [1, 2]],
  ['an array of scalars', () => [scalar(1), scalar(2)], [1, 2]],
  ['an array of tensors [1]', () => [tensor1d([1]), tensor1d([2])], [1, 2]],
  ['a typed array', () => Float64Array.of(1, 2), [1, 2]],
  ["TRL's pair with an empty object", () => [[1, 2], {}], [1, 2]],
  ["TRL's pair with a tensor", () => [tensor1d([1, 2]), { note: 'x' }], [1, 2]],
  ["TRL's pair with a list of objects", () => [Float32Array.of(1, 2), [{}, {}]], [1, 2]],
  ["TRL's pair with nothing", () => [tensor([1, 2], [2, 1]), undefined], [1, 2]],
  ['nothing', () => undefined, /nothing \(undefined\), expected a tensor \[2\] or 2 numbers, one score an image\.$/],
  ['null', () => null, /returned null,/],
  ['a number', () => 3, /returned a number \(3\),/],
  ['a string', () => 'high', /returned a string \('high'\),/],
  ['a boolean', () => true, /returned a boolean \(true\),/],
  ['an array of strings', () => ['0.5', '0.7'], /returned an array of 2 strings \['0\.5', '0\.7'\],/],
  ['an array of booleans', () => [true, false], /returned an array of 2 booleans/],
  ['an array with null', () => [null, 1], /returned an array of 2 values \[null, 1\],/],
  ['an object', () => ({ scores: [1, 2] }), /returned an object with the keys scores,/],
  ['a function', () => () => 1, /returned a function,/],
  ['a class', () => Score, /returned a class,/],
  ['too many numbers', () => [1, 2, 3, 4], /returned an array of 4 numbers \[1, 2, 3, …\],/],
  ['too few numbers of a typed array', () => Float32Array.of(1), /returned a Float32Array of 1 number,/],
  ['a matrix', () => tensor([1, 2, 3, 4], [2, 2]), /returned a tensor of shape \[2, 2\],/],
  ['a scalar', () => scalar(1), /returned a tensor of shape \[\],/],
  ['a row', () => tensor([1, 2], [1, 2]), /returned a tensor of shape \[1, 2\],/],
  ['a tensor of strings', () => tensor(['a', 'b']), /returned a tensor of shape \[2\] and dtype string,/],
  ['a disposed tensor', disposed, /returned a tensor that is disposed already,/],
];

/** The same for a single image. */
const forOne: typeof forTwo = [
  ['a number', () => 3, [3]],
  ['a scalar', () => scalar(3), [3]],
  ['an array of one number', () => [3], [3]],
  ["TRL's pair with a number", () => [3, {}], [3]],
  ["TRL's pair with a scalar", () => [scalar(3), null], [3]],
  ['two numbers', () => [3, 4], /returned an array of 2 numbers \[3, 4\], expected a tensor \[1\] or a number, /],
  ['two tensors', () => [tensor1d([3]), tensor1d([4])], /returned an array of 2 values/],
];
const cases = [...forTwo.map((one) => [2, ...one] as const), ...forOne.map((one) => [1, ...one] as const)];

describe('the scores that a reward returns', () => {
  it.each(cases)('for %i images: %s', async (batch, _name, value, taken) => {
    const call = { reward: "rewardFunction 'mine'", batch };
    const numbers = () => scoreNumbers(Promise.resolve(value()), call);
    if (taken instanceof RegExp) {
      await expect(numbers()).rejects.toThrow(taken);
      expect(() => scoresTensor(value(), call)).toThrow(taken);
      return;
    }
    expect(await numbers()).toEqual(taken);
    const scores = scoresTensor(value(), call);
    expect([scores.shape, scores.dtype, [...scores.dataSync()]]).toEqual([[batch], 'float32', taken]);
  });

  it('are read without a leak, and a returned tensor is disposed', () =>
    expectNoLeaks(async () => {
      expect(await scoreNumbers(tensor1d([1, 2]), { reward: 'mine', batch: 2 })).toEqual([1, 2]);
    }));
});
