import { describe, expect, it } from 'vitest';
import { areFinite } from './are-finite.js';

const f32 = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
const halves = (...values: number[]) => new Uint8Array(Uint16Array.from(values).buffer);
const zeros = (count: number) => new Array<number>(count).fill(0);

describe('areFinite', () => {
  it.each<[string, Uint8Array]>([
    ['F32', f32(0, -0, 3.4028234e38, -3.4028234e38, 1e-45, 1)],
    ['F16', halves(0, 0x8000, 0x7bff, 0xfbff, 0x0001, 0x3c00, 0x7bff)],
    ['BF16', halves(0, 0x8000, 0x7f7f, 0xff7f, 0x0001, 0x3f80, 0xff7f)],
    ['I32', f32(NaN)],
    ['F32', new Uint8Array()],
  ])('is true for finite numbers of %s, and for integers', (dtype, bytes) =>
    expect(areFinite(dtype, bytes)).toBe(true),
  );

  const notFinite: readonly (readonly [dtype: string, bits: number[]])[] = [
    ['F16', [0x7c00, 0xfc00, 0x7e00, 0x7c01, 0xffff]],
    ['BF16', [0x7f80, 0xff80, 0x7fc0, 0x7f81, 0xffff]],
  ];
  it('is false wherever one number of seventeen is not finite, aligned or not', () => {
    for (let at = 0; at < 17; at++) {
      for (const value of [NaN, Infinity, -Infinity]) {
        const bytes = f32(...zeros(at), value, ...zeros(16 - at));
        expect(areFinite('F32', bytes), `F32 ${value} at ${at}`).toBe(false);
        const shifted = new Uint8Array([0, ...bytes]).subarray(1);
        expect(areFinite('F32', shifted), `F32 ${value} at ${at}, not aligned`).toBe(false);
      }
      for (const [dtype, patterns] of notFinite)
        for (const bits of patterns)
          expect(areFinite(dtype, halves(...zeros(at), bits, ...zeros(16 - at))), `${dtype} ${bits} at ${at}`).toBe(
            false,
          );
    }
  });
});
