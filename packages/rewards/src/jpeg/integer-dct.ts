import type { QuantizationTable } from './quantization-tables.js';

/** One component of an image, with values of 8 bits. */
export interface Plane {
  readonly height: number;
  readonly width: number;
  readonly values: Int32Array;
}

/**
 * Returns a function that computes the quantised block at a row and column of blocks. Undefined for the blocks beyond
 * the plane, to the right and below: libjpeg codes them with the DC value of the previous block.
 */
export function blocksOf(
  { height, width, values }: Plane,
  table: QuantizationTable,
): (row: number, column: number) => Int32Array | undefined {
  return (row, column) => {
    if (row * 8 >= height || column * 8 >= width) return undefined;
    const block = new Int32Array(64);
    for (let i = 0; i < 64; i++) {
      const [y, x] = [Math.min(row * 8 + (i >> 3), height - 1), Math.min(column * 8 + (i & 7), width - 1)];
      block[i] = values[y * width + x]! - 128;
    }
    for (let i = 0; i < 8; i++) dct8(block, 8 * i, 1, (value) => value << 2, 11);
    for (let i = 0; i < 8; i++) dct8(block, i, 8, (value) => (value + 2) >> 2, 15);
    return block.map((value, i) => Math.sign(value) * Math.floor((Math.abs(value) + 4 * table[i]!) / (8 * table[i]!)));
  };
}

/**
 * One pass of libjpeg's accurate integer DCT (jfdctint.c; Loeffler, Ligtenberg and Moschytz 1989, 13-bit constants), in
 * place. The two passes together scale by 8.
 * @param even scales the outputs 0 and 4, which need no multiplication
 * @param shift bits by which the other outputs are shifted right, with rounding
 */
function dct8(v: Int32Array, start: number, stride: number, even: (value: number) => number, shift: number): void {
  const at = (i: number) => start + i * stride;
  const sum = (i: number) => v[at(i)]! + v[at(7 - i)]!;
  const difference = (i: number) => v[at(i)]! - v[at(7 - i)]!;
  const [s0, s1, s2, s3] = [sum(0), sum(1), sum(2), sum(3)];
  const [d0, d1, d2, d3] = [difference(0), difference(1), difference(2), difference(3)];
  const descale = (value: number) => (value + (1 << (shift - 1))) >> shift;
  v[at(0)] = even(s0 + s3 + s1 + s2);
  v[at(4)] = even(s0 + s3 - s1 - s2);
  const z1 = (s1 - s2 + s0 - s3) * 4433;
  v[at(2)] = descale(z1 + (s0 - s3) * 6270);
  v[at(6)] = descale(z1 - (s1 - s2) * 15137);
  const z5 = (d3 + d1 + d2 + d0) * 9633;
  const [za, zb] = [(d3 + d0) * -7373, (d2 + d1) * -20995];
  const [zc, zd] = [(d3 + d1) * -16069 + z5, (d2 + d0) * -3196 + z5];
  v[at(7)] = descale(d3 * 2446 + za + zc);
  v[at(5)] = descale(d2 * 16819 + zb + zd);
  v[at(3)] = descale(d1 * 25172 + zb + zc);
  v[at(1)] = descale(d0 * 12299 + za + zd);
}
