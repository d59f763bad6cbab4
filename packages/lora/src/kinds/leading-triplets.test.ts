import { random } from '@alignprop/autograd-ext';
import { describe, expect, it } from 'vitest';
import { jacobi } from './jacobi.js';
import { leadingTriplets } from './leading-triplets.js';

const randomMatrix = (out: number, inputs: number) => Float32Array.from(random(out).randn(out * inputs));

/** All singular values, largest first. */
function singularValues(matrix: ArrayLike<number>, out: number, inputs: number): number[] {
  const columns = Array.from({ length: inputs }, (_, i) =>
    Float64Array.from({ length: out }, (_, o) => matrix[o * inputs + i]!),
  );
  const size = Math.max(out, inputs);
  const square = Array.from({ length: size }, (_, i) =>
    Float64Array.from({ length: size }, (_, o) => columns[i]?.[o] ?? 0),
  );
  return jacobi(square)
    .map(({ value }) => value)
    .sort((a, b) => b - a);
}

describe('jacobi', () => {
  it('gives the singular values and vectors of a matrix', () => {
    // [[1, 2], [0, 2]]: the squares of its values have the sum 9 and the product 4.
    const found = jacobi([Float64Array.of(1, 0), Float64Array.of(2, 2)]);
    const squares = found.map(({ value }) => value ** 2).sort((a, b) => a - b);
    expect(squares[0]! + squares[1]!).toBeCloseTo(9, 12);
    expect(squares[0]! * squares[1]!).toBeCloseTo(4, 12);
    for (const { value, left, right } of found) {
      expect(right[0]! + 2 * right[1]!).toBeCloseTo(value * left[0]!, 12);
      expect(2 * right[1]!).toBeCloseTo(value * left[1]!, 12);
    }
  });
});

describe('leadingTriplets', () => {
  it.each([
    [12, 12, 12],
    [40, 25, 3],
    [25, 40, 3],
    [60, 60, 20],
    [5, 1, 1],
  ])('gives the largest of the singular values of a %i×%i matrix, %i of them', (out, inputs, count) => {
    const matrix = randomMatrix(out, inputs);
    const triplets = leadingTriplets(matrix, { out, inputs, count });
    const expected = singularValues(matrix, out, inputs).slice(0, count);
    expect(triplets).toHaveLength(count);
    triplets.forEach(({ value, left, right }, k) => {
      expect(value / expected[k]!).toBeCloseTo(1, 9);
      for (let o = 0; o < out; o++) {
        let image = 0;
        for (let i = 0; i < inputs; i++) image += matrix[o * inputs + i]! * right[i]!;
        expect(image).toBeCloseTo(value * left[o]!, 7);
      }
    });
  });

  it('gives only the values that are not zero', () => {
    const matrix = Float32Array.from({ length: 48 }, (_, at) => (1 + Math.floor(at / 8)) * (1 + (at % 8))); // rank 1
    const [triplet, ...others] = leadingTriplets(matrix, { out: 6, inputs: 8, count: 4 });
    expect(triplet!.value).toBeCloseTo(Math.sqrt(91 * 204), 6);
    expect(others).toEqual([]);
    expect(leadingTriplets(new Float32Array(48), { out: 6, inputs: 8, count: 4 })).toEqual([]);
  });
});
