/** The interpolation filter of a resize. */
export interface ResizeKernel {
  readonly mode: 'nearest' | 'bilinear' | 'bicubic';
  /** Widens the filter when shrinking. Ignored by `nearest`. */
  readonly antialias: boolean;
}

/**
 * Returns the row-major matrix `[to, from]` that resizes a line of pixels.
 * Without antialiasing as torch's `align_corners=False`: clamps indices at the ends, Keys' cubic filter with a = -0.75.
 * With antialiasing as PIL: widens the filter by the scale when shrinking, cuts it off at the ends and normalises it,
 * a = -0.5.
 */
export function resizeWeights(from: number, to: number, { mode, antialias }: ResizeKernel): Float32Array {
  const weights = new Float32Array(from * to);
  const add = (row: number, column: number, weight: number) => (weights[row * from + column]! += weight);
  for (let row = 0; row < to; row++) {
    if (mode === 'nearest') add(row, Math.min(Math.floor((row * from) / to), from - 1), 1);
    else if (antialias) addAntialiased(row, from, to, mode, add);
    else addInterpolated(row, from, to, mode, add);
  }
  return weights;
}

type Add = (row: number, column: number, weight: number) => void;

function addAntialiased(row: number, from: number, to: number, mode: 'bilinear' | 'bicubic', add: Add): void {
  const scale = Math.max(from / to, 1);
  const support = scale * (mode === 'bilinear' ? 1 : 2);
  const centre = (row + 0.5) * (from / to);
  const first = Math.max(0, Math.floor(centre - support + 0.5));
  const last = Math.min(from, Math.floor(centre + support + 0.5));
  const values = Array.from({ length: last - first }, (_, i) =>
    resizeFilter((first + i + 0.5 - centre) / scale, mode, -0.5),
  );
  const total = values.reduce((a, b) => a + b, 0);
  values.forEach((value, i) => add(row, first + i, value / total));
}

function addInterpolated(row: number, from: number, to: number, mode: 'bilinear' | 'bicubic', add: Add): void {
  // In float32 as torch: the rounding of the position changes the weights by about 1e-5.
  const centre = Math.fround(Math.fround((row + 0.5) * Math.fround(from / to)) - 0.5);
  const position = mode === 'bilinear' ? Math.max(centre, 0) : centre;
  const first = Math.floor(position);
  const reach = mode === 'bilinear' ? [0, 1] : [-1, 0, 1, 2];
  for (const i of reach)
    add(row, Math.min(Math.max(first + i, 0), from - 1), resizeFilter(position - first - i, mode, -0.75));
}

/** Returns the weight of a pixel by its distance: a triangle, or Keys' cubic (1981, eq. 4) with parameter a. */
export function resizeFilter(distance: number, mode: 'bilinear' | 'bicubic', a: number): number {
  const x = Math.abs(distance);
  if (mode === 'bilinear') return Math.max(0, 1 - x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}
