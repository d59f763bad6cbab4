import { VECTOR, multiplyAdd } from './vector';

/**
 * C = A · B, or C += A · B where `accumulate` is not 0, for A [rows, depth], B [depth, columns], C [rows, columns].
 *
 * Strides are in bytes. A is read element by element, so that it may be transposed (`aRow` smaller than `aColumn`); the
 * rows of B and C are contiguous, and `columns` is a multiple of 4. Works through C in tiles of 4 rows and 8 columns,
 * whose sums stay in registers; 1 row and 4 columns at the edges.
 */
export function matmul(
  a: usize,
  aRow: usize,
  aColumn: usize,
  b: usize,
  bRow: usize,
  c: usize,
  cRow: usize,
  rows: i32,
  columns: i32,
  depth: i32,
  accumulate: i32,
): void {
  let row = 0;
  for (; row + 3 < rows; row += 4) {
    Tiles.row(4, a, aRow, aColumn, b, bRow, c, cRow, columns, depth, accumulate);
    a += 4 * aRow;
    c += 4 * cRow;
  }
  for (; row < rows; row++) {
    Tiles.row(1, a, aRow, aColumn, b, bRow, c, cRow, columns, depth, accumulate);
    a += aRow;
    c += cRow;
  }
}

// Static methods, because TypeScript, and so Prettier, allows decorators such as `@inline` in classes only.
class Tiles {
  @inline
  static row(
    height: i32,
    a: usize,
    aRow: usize,
    aColumn: usize,
    b: usize,
    bRow: usize,
    c: usize,
    cRow: usize,
    columns: i32,
    depth: i32,
    accumulate: i32,
  ): void {
    let column = 0;
    for (; column + 7 < columns; column += 8)
      Tiles.tile(height, 2, a, aRow, aColumn, b + 4 * column, bRow, c + 4 * column, cRow, depth, accumulate);
    if (column < columns)
      Tiles.tile(height, 1, a, aRow, aColumn, b + 4 * column, bRow, c + 4 * column, cRow, depth, accumulate);
  }

  /**
   * One tile of C: `height` rows (1 or 4) of `vectors` vectors (1 or 2). Both are literals at every call, so that the
   * compiler removes the branches on them and the sums of rows and vectors that the tile lacks.
   */
  @inline
  static tile(
    height: i32,
    vectors: i32,
    a: usize,
    aRow: usize,
    aColumn: usize,
    b: usize,
    bRow: usize,
    c: usize,
    cRow: usize,
    depth: i32,
    accumulate: i32,
  ): void {
    let a1 = a + aRow;
    let a2 = a1 + aRow;
    let a3 = a2 + aRow;
    const c1 = c + cRow;
    const c2 = c1 + cRow;
    const c3 = c2 + cRow;
    // The sum of row i and vector j.
    let s00 = f32x4.splat(0);
    let s01 = s00;
    let s10 = s00;
    let s11 = s00;
    let s20 = s00;
    let s21 = s00;
    let s30 = s00;
    let s31 = s00;
    if (accumulate) {
      s00 = v128.load(c);
      if (vectors == 2) s01 = v128.load(c, VECTOR);
      if (height == 4) {
        s10 = v128.load(c1);
        s20 = v128.load(c2);
        s30 = v128.load(c3);
        if (vectors == 2) {
          s11 = v128.load(c1, VECTOR);
          s21 = v128.load(c2, VECTOR);
          s31 = v128.load(c3, VECTOR);
        }
      }
    }
    for (let k = 0; k < depth; k++) {
      const b0 = v128.load(b);
      const b1 = vectors == 2 ? v128.load(b, VECTOR) : b0;
      let x = v128.load32_splat(a);
      s00 = multiplyAdd(x, b0, s00);
      if (vectors == 2) s01 = multiplyAdd(x, b1, s01);
      a += aColumn;
      if (height == 4) {
        x = v128.load32_splat(a1);
        s10 = multiplyAdd(x, b0, s10);
        if (vectors == 2) s11 = multiplyAdd(x, b1, s11);
        a1 += aColumn;
        x = v128.load32_splat(a2);
        s20 = multiplyAdd(x, b0, s20);
        if (vectors == 2) s21 = multiplyAdd(x, b1, s21);
        a2 += aColumn;
        x = v128.load32_splat(a3);
        s30 = multiplyAdd(x, b0, s30);
        if (vectors == 2) s31 = multiplyAdd(x, b1, s31);
        a3 += aColumn;
      }
      b += bRow;
    }
    v128.store(c, s00);
    if (vectors == 2) v128.store(c, s01, VECTOR);
    if (height == 4) {
      v128.store(c1, s10);
      v128.store(c2, s20);
      v128.store(c3, s30);
      if (vectors == 2) {
        v128.store(c1, s11, VECTOR);
        v128.store(c2, s21, VECTOR);
        v128.store(c3, s31, VECTOR);
      }
    }
  }
}
