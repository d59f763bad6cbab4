import { get, set, vec, type Code } from './assembler.js';

/**
 * `local x = exp(value)` for values not above 0: 2^n · e^r with |r| <= ln(2)/2, e^r by Cephes' polynomial (within 1
 * ulp); 0 below -87, where float32 runs out of exponents.
 */
export function exponential(value: Code, x: number, n: number): Code {
  const coefficients = [
    1.98756915e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1,
  ];
  const lowest = vec.constant(-87);
  const r = x;
  // r is also what tells which values are too low: clamped, they give the smallest result, and the mask removes it.
  const polynomial = coefficients
    .slice(1)
    .reduce((sum, q) => vec.add(vec.mul(sum, get(r)), vec.constant(q)), vec.constant(coefficients[0]!));
  return [
    set(x, value),
    get(x),
    lowest,
    vec.greater([], []), // the mask stays on the stack
    set(x, vec.max(get(x), lowest)),
    set(n, vec.nearest(vec.mul(get(x), vec.constant(Math.LOG2E)))),
    set(
      r,
      vec.sub(
        vec.sub(get(x), vec.mul(get(n), vec.constant(0.693359375))),
        vec.mul(get(n), vec.constant(-2.1219444e-4)),
      ),
    ),
    set(r, vec.add(vec.add(vec.mul(polynomial, vec.mul(get(r), get(r))), get(r)), vec.constant(1))),
    set(r, vec.and([], vec.addInt(get(r), vec.shiftLeft(vec.toInt(get(n)), 23)))),
  ];
}
