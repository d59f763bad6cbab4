// Helpers on vectors of four float32 ("f32x4") and of two float64 ("f64x2").

/** Bytes of a vector of four float32. */
export const VECTOR: usize = 16;

/** The address after `count` float32 at `start`. */
export function endOf(start: usize, count: i32): usize {
  return start + ((<usize>count) << 2);
}

/** a · b + c, rounded after the product and after the sum. */
export function multiplyAdd(a: v128, b: v128, c: v128): v128 {
  return f32x4.add(f32x4.mul(a, b), c);
}

/** (a₀ + a₁) + (a₂ + a₃) */
export function sumOfLanes(a: v128): f32 {
  return f32x4.extract_lane(a, 0) + f32x4.extract_lane(a, 1) + (f32x4.extract_lane(a, 2) + f32x4.extract_lane(a, 3));
}

/** The largest of four float32. */
export function maxOfLanes(a: v128): f32 {
  return max(
    max(f32x4.extract_lane(a, 0), f32x4.extract_lane(a, 1)),
    max(f32x4.extract_lane(a, 2), f32x4.extract_lane(a, 3)),
  );
}

/** The first two of four float32, as two float64. */
export function low(a: v128): v128 {
  return f64x2.promote_low_f32x4(a);
}

/** The last two of four float32, as two float64. */
export function high(a: v128): v128 {
  return f64x2.promote_low_f32x4(v128.shuffle<f32>(a, a, 2, 3, 0, 1));
}

/** The sum of four float64: those of `a` first, then those of `b`. */
export function sumOfPairs(a: v128, b: v128): f64 {
  return f64x2.extract_lane(a, 0) + f64x2.extract_lane(a, 1) + (f64x2.extract_lane(b, 0) + f64x2.extract_lane(b, 1));
}
