/** A singular value of a matrix with its vectors: matrix·right = value·left. */
interface SingularValue {
  readonly value: number;
  readonly left: Float64Array;
  readonly right: Float64Array;
}

const MOST_SWEEPS = 60;

/**
 * Returns all singular values of a small square matrix by one-sided Jacobi rotations (Hestenes 1958), unsorted.
 * @param columns the columns of the matrix; overwritten
 */
export function jacobi(columns: readonly Float64Array[]): SingularValue[] {
  const size = columns.length;
  const right = columns.map((_, i) => Float64Array.from({ length: size }, (_, j) => Number(i === j)));
  for (let sweep = 0, isDone = false; !isDone && sweep < MOST_SWEEPS; sweep++) {
    isDone = true;
    for (let p = 0; p < size; p++)
      for (let q = p + 1; q < size; q++) {
        const [pp, qq, pq] = [
          dot(columns[p]!, columns[p]!),
          dot(columns[q]!, columns[q]!),
          dot(columns[p]!, columns[q]!),
        ];
        if (Math.abs(pq) <= 1e-15 * Math.sqrt(pp * qq)) continue;
        isDone = false;
        const zeta = (qq - pp) / (2 * pq);
        const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
        const cosine = 1 / Math.hypot(1, tangent);
        rotate(columns[p]!, columns[q]!, cosine, cosine * tangent);
        rotate(right[p]!, right[q]!, cosine, cosine * tangent);
      }
  }
  return columns.map((column, i) => {
    const value = Math.sqrt(dot(column, column));
    return { value, left: column.map((element) => element / (value || 1)), right: right[i]! };
  });
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

function rotate(a: Float64Array, b: Float64Array, cosine: number, sine: number): void {
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [a[i]!, b[i]!];
    a[i] = cosine * x - sine * y;
    b[i] = sine * x + cosine * y;
  }
}
