/** How a resized pixel weighs its neighbours. */
export interface ResizeKernel {
  readonly mode: 'nearest' | 'bilinear' | 'bicubic';
  readonly antialias: boolean;
}

/**
 * The matrix `[to, from]`, row-major, that resizes a line of pixels. Without antialiasing: torch's
 * `align_corners=False`, indices clamped at the ends, Keys' cubic with a = -0.75. With it: PIL's scheme, the filter
 * widened by the scale when shrinking, cut at the ends and normalised, a = -0.5.
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
  const values = Array.from({ length: last - first }, (_, i) => filter((first + i + 0.5 - centre) / scale, mode, -0.5));
  const total = values.reduce((a, b) => a + b, 0);
  values.forEach((value, i) => add(row, first + i, value / total));
}

function addInterpolated(row: number, from: number, to: number, mode: 'bilinear' | 'bicubic', add: Add): void {
  // In float32, as torch does: the position decides the weights, and its rounding is visible at 1e-5.
  const centre = Math.fround(Math.fround((row + 0.5) * Math.fround(from / to)) - 0.5);
  const position = mode === 'bilinear' ? Math.max(centre, 0) : centre;
  const first = Math.floor(position);
  const reach = mode === 'bilinear' ? [0, 1] : [-1, 0, 1, 2];
  for (const i of reach)
    add(row, Math.min(Math.max(first + i, 0), from - 1), filter(position - first - i, mode, -0.75));
}

function filter(distance: number, mode: 'bilinear' | 'bicubic', a: number): number {
  const x = Math.abs(distance);
  if (mode === 'bilinear') return Math.max(0, 1 - x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0; // Keys (1981), eq. 4
}
