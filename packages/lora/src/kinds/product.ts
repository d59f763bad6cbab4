import { elementCount, type StoredTensor } from '@alignprop/autograd-ext';

/** The tensors of a product. */
export interface Factors {
  /** `[rows, r]`; with a core `[r, rows]`. */
  readonly left: StoredTensor;
  /** `[r, width]`; with a core `[r, in]`. */
  readonly right: StoredTensor;
  /** The core of a Tucker decomposition, `[r, r, …kernel]`. */
  readonly core?: StoredTensor;
}

/** The size of a product. */
export interface ProductSize {
  readonly rows: number;
  readonly width: number;
  readonly r: number;
}

/** A product whose rows are computed one at a time, in float64. */
export interface Product extends ProductSize {
  /** Writes row `o` to `values`, which has `width` elements. */
  row(o: number, values: Float64Array): void;
}

/**
 * Returns the size of left·right or, with a core, of Σ core[a, b, …]·left[a, o]·right[b, i] as a matrix of width
 * in·kernel.
 * @returns undefined if the factors do not go together
 */
export function productSize({ left, right, core }: Factors): ProductSize | undefined {
  const [rows, r] = core ? [left.shape[1], left.shape[0]] : left.shape;
  const [r2, ...rest] = right.shape;
  const [t1 = r, t2 = r, ...kernel] = core?.shape ?? [];
  if (rows === undefined || r === undefined || elementCount(left.shape) !== rows * r || rest.length === 0)
    return undefined;
  return r === r2 && t1 === r && t2 === r ? { rows, r, width: elementCount(rest) * elementCount(kernel) } : undefined;
}

/** Reads the factors of a product, which go together. */
export async function readProduct(factors: Factors): Promise<Product> {
  const { left, right, core } = factors;
  const size = productSize(factors)!;
  const { rows, width, r } = size;
  const [a, b] = [await left.read(), await right.read()];
  const right64 = core ? contractCore(await core.read(), b, r) : Float64Array.from(b);
  return {
    ...size,
    row: (o, values) => {
      values.fill(0);
      for (let k = 0; k < r; k++) {
        const factor = core ? a[k * rows + o]! : a[o * r + k]!;
        for (let i = 0; i < width; i++) values[i]! += factor * right64[k * width + i]!;
      }
    },
  };
}

/** Returns Σ_b core[a, b, k]·right[b, i] as `[r, in·kernel]`: core `[r, r, kernel]`, right `[r, in]`. */
export function contractCore(core: ArrayLike<number>, right: ArrayLike<number>, r: number): Float64Array {
  const kernel = core.length / (r * r);
  const inputs = right.length / r;
  const result = new Float64Array(r * inputs * kernel);
  for (let a = 0; a < r; a++)
    for (let b = 0; b < r; b++)
      for (let i = 0; i < inputs; i++) {
        const value = right[b * inputs + i]!;
        const from = (a * r + b) * kernel;
        const to = (a * inputs + i) * kernel;
        for (let k = 0; k < kernel; k++) result[to + k]! += core[from + k]! * value;
      }
  return result;
}
