import { exponential } from './exponential';
import { VECTOR, endOf, multiplyAdd } from './vector';

/** A row of GEGLU: y = value · gelu(gate), with gelu(x) = x · Φ(x). `width` is a multiple of 4. */
export function gegluRow(value: usize, gate: usize, y: usize, width: i32): void {
  const end = endOf(gate, width);
  while (gate < end) {
    const x = v128.load(gate);
    const cdf = normalCdf(x, normalDensity(x));
    v128.store(y, f32x4.mul(f32x4.mul(v128.load(value), x), cdf));
    gate += VECTOR;
    value += VECTOR;
    y += VECTOR;
  }
}

/**
 * The gradient of a row of GEGLU: dvalue = dy · gelu(gate) and dgate = dy · value · gelu'(gate), with
 * gelu'(x) = Φ(x) + x · exp(-x²/2) / √2π. `width` is a multiple of 4.
 */
export function gegluGradRow(value: usize, gate: usize, dy: usize, dvalue: usize, dgate: usize, width: i32): void {
  const end = endOf(gate, width);
  while (gate < end) {
    const x = v128.load(gate);
    const g = v128.load(dy);
    const density = normalDensity(x);
    const cdf = normalCdf(x, density);
    v128.store(dvalue, f32x4.mul(f32x4.mul(g, x), cdf));
    const slope = f32x4.add(cdf, f32x4.mul(x, f32x4.mul(density, f32x4.splat(<f32>(1 / Math.sqrt(2 * Math.PI))))));
    v128.store(dgate, f32x4.mul(f32x4.mul(g, v128.load(value)), slope));
    gate += VECTOR;
    value += VECTOR;
    dy += VECTOR;
    dvalue += VECTOR;
    dgate += VECTOR;
  }
}

/** exp(-x²/2): the density of the normal distribution without its factor 1/√2π. */
function normalDensity(x: v128): v128 {
  return exponential(f32x4.mul(f32x4.mul(x, x), f32x4.splat(-0.5)));
}

/**
 * Φ(x), the cumulative distribution function of the normal distribution, within 1e-7 and rounding: 2Φ(x) = erfc(-x/√2)
 * with erfc of Abramowitz & Stegun, formula 7.1.26.
 */
function normalCdf(x: v128, density: v128): v128 {
  const one = f32x4.splat(1);
  const t = f32x4.div(one, multiplyAdd(f32x4.abs(x), f32x4.splat(<f32>(0.3275911 * Math.SQRT1_2)), one));
  let p = f32x4.splat(1.061405429 / 2);
  p = multiplyAdd(p, t, f32x4.splat(-1.453152027 / 2));
  p = multiplyAdd(p, t, f32x4.splat(1.421413741 / 2));
  p = multiplyAdd(p, t, f32x4.splat(-0.284496736 / 2));
  p = multiplyAdd(p, t, f32x4.splat(0.254829592 / 2));
  const tail = f32x4.mul(f32x4.mul(p, t), density); // Φ(-|x|)
  return v128.bitselect(f32x4.sub(one, tail), tail, f32x4.gt(x, f32x4.splat(0)));
}
