import { describe, expect, it } from 'vitest';
import { fromFloat8, type Float8Name } from './float8.js';

// Smallest and largest numbers, 1.5, and what is no number, by the table of the formats in ONNX's documentation.
const formats: readonly [Float8Name, Readonly<Record<number, number>>][] = [
  ['F8_E4M3', { 0x00: 0, 0x01: 2 ** -9, 0x08: 2 ** -6, 0x3c: 1.5, 0x7e: 448, 0x7f: NaN, 0x80: -0, 0xfe: -448 }],
  ['F8_E5M2', { 0x01: 2 ** -16, 0x3e: 1.5, 0x7b: 57344, 0x7c: Infinity, 0x7d: NaN, 0x80: -0, 0xfc: -Infinity }],
  ['F8_E4M3FNUZ', { 0x00: 0, 0x01: 2 ** -10, 0x44: 1.5, 0x7f: 240, 0x80: NaN, 0xff: -240 }],
  ['F8_E5M2FNUZ', { 0x00: 0, 0x01: 2 ** -17, 0x42: 1.5, 0x7f: 57344, 0x80: NaN, 0xff: -57344 }],
];

describe.each(formats)('fromFloat8 of %s', (name, expected) => {
  it('decodes zeros, the smallest and largest numbers, infinities and NaN', () => {
    const bits = Object.keys(expected).map(Number);
    expect([...fromFloat8(name, Uint8Array.from(bits))]).toEqual(Object.values(expected));
  });

  it('grows with the bits, and is symmetric', () => {
    const values = fromFloat8(
      name,
      Uint8Array.from({ length: 0x100 }, (_, i) => i),
    );
    for (let bits = 1; bits < 0x80; bits++) {
      if (Number.isNaN(values[bits])) continue;
      expect(values[bits]).toBeGreaterThan(values[bits - 1]!);
      expect(values[bits + 0x80]).toBe(-values[bits]!);
    }
  });
});
