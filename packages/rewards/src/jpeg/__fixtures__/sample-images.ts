// Images for the tests of JPEG sizes: from blank to noise, and drawings like emoji.

export interface SampleImage {
  readonly name: string;
  readonly height: number;
  readonly width: number;
  /** RGB, `[height, width, 3]`. */
  readonly data: Uint8Array;
}

/** Deterministic numbers in [0, 1): mulberry32. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

type Painter = (random: () => number) => (x: number, y: number) => readonly [number, number, number];

const painters: Readonly<Record<string, Painter>> = {
  plain: (random) => {
    const colour = [random() * 255, random() * 255, random() * 255] as const;
    return () => colour;
  },
  gradient: (random) => {
    const [a, b, c] = [random() * 4, random() * 4, random() * 255];
    return (x, y) => [a * x, b * y, c];
  },
  waves: (random) => {
    const waves = Array.from(
      { length: 9 },
      () => [random() * 0.9, random() * 0.9, random() * 6, random() * 40] as const,
    );
    return (x, y) =>
      [0, 1, 2].map(
        (c) =>
          128 + waves.slice(c * 3, c * 3 + 3).reduce((v, [fx, fy, p, a]) => v + a * Math.sin(fx * x + fy * y + p), 0),
      ) as [number, number, number];
  },
  discs: (random) => {
    const discs = Array.from(
      { length: 3 + Math.floor(random() * 9) },
      () => [random() * 96, random() * 96, 4 + random() * 28, random() * 255, random() * 255, random() * 255] as const,
    );
    return (x, y) => {
      const on = discs.findLast(([cx, cy, r]) => (x - cx) ** 2 + (y - cy) ** 2 < r * r);
      return on ? [on[3], on[4], on[5]] : [255, 255, 255];
    };
  },
  grain: (random) => {
    const amplitude = random() ** 2 * 120;
    return (x, y) => [
      128 + amplitude * (random() - 0.5) + x / 2,
      128 + amplitude * (random() - 0.5) + y / 2,
      128 + amplitude * (random() - 0.5),
    ];
  },
};

/** `count` images of each kind, of several sizes, multiples of 16 and not. */
export function sampleImages(count: number): SampleImage[] {
  const sizes = [
    [64, 64],
    [48, 80],
    [33, 47],
    [96, 96],
  ] as const;
  return Object.entries(painters).flatMap(([kind, painter], k) =>
    Array.from({ length: count }, (_, i) => {
      const [height, width] = sizes[i % sizes.length]!;
      const paint = painter(numbers(1000 * k + i));
      const data = new Uint8Array(height * width * 3);
      for (let y = 0; y < height; y++)
        for (let x = 0; x < width; x++)
          data.set(
            paint(x, y).map((v) => Math.min(255, Math.max(0, Math.round(v)))),
            (y * width + x) * 3,
          );
      return { name: `${kind} ${i}`, height, width, data };
    }),
  );
}
