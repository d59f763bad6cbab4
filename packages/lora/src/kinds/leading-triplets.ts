import { random } from '@alignprop/autograd-ext';
import { jacobi } from './jacobi.js';

/** A singular value of W with its vectors: W·right = value·left. */
export interface Triplet {
  readonly value: number;
  readonly left: Float64Array; // [out]
  readonly right: Float64Array; // [in]
}

/** How far Wᵀ·left may be from value·right, relative to the largest singular value. */
const TOLERANCE = 1e-9;

/** The length of a vector, relative to the largest value, below which it is only rounding. */
const ROUNDING = 1e-13;

/**
 * Returns the largest singular values of a matrix with their vectors: Golub-Kahan-Lanczos bidiagonalization with full
 * reorthogonalization, in float64, continued until they are exact to 1e-9 of the largest (Golub and Van Loan, "Matrix
 * Computations", 10.4).
 * @returns fewer than `count` where the other values are zero
 */
export function leadingTriplets(
  matrix: ArrayLike<number>,
  { out, inputs, count }: { out: number; inputs: number; count: number },
): Triplet[] {
  const lanczos = new Bidiagonalization(matrix, out, inputs);
  const most = Math.min(out, inputs) + 1; // the last step finds that nothing is left
  for (let steps = Math.min(most, count + 12); ; steps = Math.min(most, Math.ceil(steps * 1.4))) {
    const isComplete = lanczos.extend(steps);
    const triplets = lanczos.triplets(count);
    const largest = triplets[0]?.value ?? 0;
    if (isComplete || triplets.every(({ residual }) => residual <= TOLERANCE * largest))
      return triplets.filter(({ value }) => value > TOLERANCE * largest);
  }
}

/** W·V = U·B with orthonormal columns in U and V and an upper bidiagonal B, one column more in each step. */
class Bidiagonalization {
  readonly #left: Float64Array[] = [];
  readonly #right: Float64Array[] = [];
  readonly #diagonal: number[] = [];
  /** The elements right of the diagonal; the last belongs to the next column. */
  readonly #above: number[] = [];
  #next: Float64Array;

  constructor(
    readonly matrix: ArrayLike<number>,
    readonly out: number,
    readonly inputs: number,
  ) {
    this.#next = Float64Array.from(random(0).randn(inputs));
    orthogonalize(this.#next, []);
  }

  /** Continues up to a number of steps. @returns whether the rest of the matrix is zero */
  extend(steps: number): boolean {
    while (this.#right.length < steps) {
      const image = this.#times(this.#next);
      const diagonal = orthogonalize(image, this.#left);
      const negligible = ROUNDING * Math.max(diagonal, ...this.#diagonal);
      const isLast = diagonal <= negligible; // W·next lies in the span of U
      this.#right.push(this.#next);
      this.#left.push(isLast ? new Float64Array(this.out) : image);
      this.#diagonal.push(isLast ? 0 : diagonal);
      if (isLast) return true;
      this.#next = this.#transposedTimes(image);
      this.#above.push(orthogonalize(this.#next, this.#right));
      if (this.#above.at(-1)! <= negligible) return true;
    }
    return false;
  }

  /** Returns approximations of the largest singular values, and how far Wᵀ·left is from value·right. */
  triplets(count: number): (Triplet & { readonly residual: number })[] {
    const size = this.#diagonal.length;
    const columns = this.#diagonal.map((value, i) => {
      const column = new Float64Array(size);
      column[i] = value;
      if (i > 0) column[i - 1] = this.#above[i - 1]!;
      return column;
    });
    const found = jacobi(columns).sort((a, b) => b.value - a.value);
    return found.slice(0, count).map(({ value, left, right }) => ({
      value,
      left: combine(this.#left, left),
      right: combine(this.#right, right),
      residual: (this.#above[size - 1] ?? 0) * Math.abs(left[size - 1]!),
    }));
  }

  #times(x: Float64Array): Float64Array {
    const { matrix, inputs } = this;
    return Float64Array.from({ length: this.out }, (_, o) => {
      let sum = 0;
      for (let i = 0, at = o * inputs; i < inputs; i++, at++) sum += matrix[at]! * x[i]!;
      return sum;
    });
  }

  #transposedTimes(y: Float64Array): Float64Array {
    const { matrix, inputs } = this;
    const result = new Float64Array(inputs);
    for (let o = 0; o < this.out; o++)
      for (let i = 0, at = o * inputs; i < inputs; i++, at++) result[i]! += matrix[at]! * y[o]!;
    return result;
  }
}

/** Subtracts from a vector its part in the span of a basis, and gives it the length 1. @returns the length before */
function orthogonalize(vector: Float64Array, basis: readonly Float64Array[]): number {
  for (let pass = 0; pass < 2; pass++)
    for (const other of basis) {
      let part = 0;
      for (let i = 0; i < vector.length; i++) part += vector[i]! * other[i]!;
      for (let i = 0; i < vector.length; i++) vector[i]! -= part * other[i]!;
    }
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  if (length > 0) for (let i = 0; i < vector.length; i++) vector[i]! /= length;
  return length;
}

/** Returns Σ factor·vector. */
function combine(vectors: readonly Float64Array[], factors: Float64Array): Float64Array {
  const sum = new Float64Array(vectors[0]?.length ?? 0);
  vectors.forEach((vector, k) => {
    for (let i = 0; i < sum.length; i++) sum[i]! += factors[k]! * vector[i]!;
  });
  return sum;
}
