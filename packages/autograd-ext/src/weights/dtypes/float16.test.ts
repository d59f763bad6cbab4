import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromBfloat16, fromFloat16, toBfloat16, toFloat16 } from './float16.js';

const all = Uint16Array.from({ length: 0x10000 }, (_, i) => i);
const bitsOf = (floats: Float32Array) => new Uint32Array(floats.buffer);

describe('float16', () => {
  it('is decoded as sign · fraction · 2^exponent', () => {
    const values = fromFloat16(all);
    for (const half of all) {
      const [sign, exponent, fraction] = [half & 0x8000 ? -1 : 1, (half >> 10) & 31, (half & 1023) / 1024];
      const expected =
        exponent === 31
          ? fraction
            ? NaN
            : sign * Infinity
          : exponent
            ? sign * 2 ** (exponent - 15) * (1 + fraction)
            : sign * 2 ** -14 * fraction;
      if (!Object.is(values[half], expected)) expect(values[half], `0x${half.toString(16)}`).toBe(expected);
    }
  });

  it('survives a round trip through float32 bit for bit; NaN stays NaN', () => {
    const isNaNHalf = (half: number) => (half & 0x7fff) > 0x7c00;
    const back = toFloat16(fromFloat16(all));
    expect(all.findIndex((half) => (isNaNHalf(half) ? !isNaNHalf(back[half]!) : back[half] !== half))).toBe(-1);
  });

  it('rounds to the nearest half, ties to even', () => {
    // Between neighbours, the midpoint rounds to the even one and every other value to the nearer one.
    for (let half = 0; half < 0x7bff; half++) {
      const [low, high] = fromFloat16(Uint16Array.of(half, half + 1)) as unknown as [number, number];
      const middle = (low + high) / 2; // exact in float32
      const even = half & 1 ? half + 1 : half;
      const rounded = toFloat16(Float32Array.of(next(middle, -1), middle, next(middle, 1)));
      if (rounded.join() !== [half, even, half + 1].join()) expect([...rounded]).toEqual([half, even, half + 1]);
    }
  });

  it('overflows to infinity from 65520', () => {
    expect([...toFloat16(Float32Array.of(65519.996, 65520, -65520, 1e30, -Infinity))]).toEqual([
      0x7bff, 0x7c00, 0xfc00, 0x7c00, 0xfc00,
    ]);
    expect([...toFloat16(Float32Array.of(2 ** -25, next(2 ** -25, 1), 2 ** -40, -0))]).toEqual([0, 1, 0, 0x8000]);
  });
});

describe('bfloat16', () => {
  it('is the upper half of float32', () => {
    const bits = bitsOf(fromBfloat16(all));
    expect(all.findIndex((half) => bits[half] !== half * 0x10000)).toBe(-1);
  });

  it('rounds to the nearest, ties to even; NaN stays NaN', () => {
    fc.assert(
      fc.property(fc.float(), (value) => {
        const exact = Math.fround(value);
        const [rounded] = fromBfloat16(toBfloat16(Float32Array.of(exact))) as unknown as [number];
        if (Number.isNaN(exact)) return Number.isNaN(rounded);
        const candidates = fromBfloat16(toBfloat16(Float32Array.of(exact)).map((half) => half ^ 1));
        return Math.abs(rounded - exact) <= Math.abs(candidates[0]! - exact) || !Number.isFinite(rounded);
      }),
      { numRuns: 2000 },
    );
    expect([...toBfloat16(Float32Array.of(1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20))]).toEqual([
      0x3f80, 0x3f82, 0x3f81,
    ]);
  });
});

/** Returns the next float32 above or below a positive one. */
function next(value: number, step: 1 | -1): number {
  const floats = Float32Array.of(value);
  bitsOf(floats)[0]! += step;
  return floats[0]!;
}
