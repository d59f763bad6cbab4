import { describe, expect, it } from 'vitest';
import { coverImage } from './cover-image.js';

/** An image whose pixels have the numbers of their column and row. */
const image = (height: number, width: number) => ({
  ...{ height, width },
  data: Uint8Array.from(
    { length: height * width * 3 },
    (_, i) => [Math.floor(i / 3) % width, Math.floor(i / 3 / width), 9][i % 3]!,
  ),
});

describe('coverImage', () => {
  it('cuts the longer side on both ends alike', () => {
    const wide = coverImage(image(2, 6), { height: 2, width: 2 });
    expect([...wide.data]).toEqual([2, 0, 9, 3, 0, 9, 2, 1, 9, 3, 1, 9]);
    const tall = coverImage(image(7, 2), { height: 2, width: 2 });
    expect([...tall.data].filter((_, i) => i % 3 === 1)).toEqual([2, 2, 3, 3]);
  });

  it('shrinks and enlarges to the size', () => {
    for (const [height, width] of [
      [100, 30],
      [4, 4],
      [9, 400],
    ] as const) {
      const { data, ...size } = coverImage(image(height, width), { height: 24, width: 16 });
      expect(size).toEqual({ height: 24, width: 16 });
      expect(data).toHaveLength(24 * 16 * 3);
      expect(data.every((value, i) => i % 3 !== 2 || value === 9)).toBe(true);
    }
  });
});
