import { multiplyAdd } from './vector';

/**
 * eˣ of four float32, for x ≤ 0, within 1 ulp; 0 for x < -87, where float32 runs out of exponents.
 *
 * x = n · ln 2 + r with |r| ≤ ln(2) / 2, so that eˣ = 2ⁿ · eʳ. eʳ is the polynomial of the Cephes library (expf.c), and
 * 2ⁿ is added to the exponent bits of its float32.
 */
export function exponential(x: v128): v128 {
  const lowest = f32x4.splat(-87);
  const inRange = f32x4.gt(x, lowest);
  const clamped = f32x4.max(x, lowest);
  const n = f32x4.nearest(f32x4.mul(clamped, f32x4.splat(<f32>Math.LOG2E)));
  // ln 2 in two parts: n times the first is exact.
  const r = f32x4.sub(
    f32x4.sub(clamped, f32x4.mul(n, f32x4.splat(0.693359375))),
    f32x4.mul(n, f32x4.splat(-2.1219444e-4)),
  );
  let p = f32x4.splat(1.98756915e-4);
  p = multiplyAdd(p, r, f32x4.splat(1.3981999507e-3));
  p = multiplyAdd(p, r, f32x4.splat(8.3334519073e-3));
  p = multiplyAdd(p, r, f32x4.splat(4.1665795894e-2));
  p = multiplyAdd(p, r, f32x4.splat(1.6666665459e-1));
  p = multiplyAdd(p, r, f32x4.splat(5.0000001201e-1));
  const eR = f32x4.add(multiplyAdd(p, f32x4.mul(r, r), r), f32x4.splat(1));
  const scaled = i32x4.add(eR, i32x4.shl(i32x4.trunc_sat_f32x4_s(n), 23));
  return v128.and(inRange, scaled);
}
