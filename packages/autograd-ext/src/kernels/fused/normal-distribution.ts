// Tables of the normal distribution function Φ and density φ at multiples of 1/64. A Taylor expansion over at most
// 1/128 gives them at any x with an error below 1e-10: exact in float32, and faster than erf.
const steps = 64;
const reach = 8; // for |x| >= 8, Φ is 0 or 1 in float32
const cumulative = new Float64Array(2 * reach * steps + 1);
const density = new Float64Array(2 * reach * steps + 1);

/** Fills the tables. Call it before `normal` and `geluSlope`, which check nothing. */
export function prepareNormal(): void {
  if (density[reach * steps]) return;
  for (let i = 0; i < density.length; i++) {
    const x = i / steps - reach;
    density[i] = Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
    cumulative[i] = x <= 0 ? lowerTail(-x) : 1 - lowerTail(x);
  }
}

/** `Φ(x)`, the normal distribution function. */
export function normal(x: number): number {
  if (!(x > -reach && x < reach)) return x > 0 ? 1 : x * 0; // keeps NaN
  const at = (x * steps + reach * steps + 0.5) | 0;
  const x0 = at / steps - reach;
  const d = x - x0;
  return cumulative[at]! + density[at]! * d * (1 - d * (x0 / 2 - (d * (x0 * x0 - 1)) / 6));
}

/** The derivative of `x · Φ(x)`: `Φ(x) + x φ(x)`. */
export function geluSlope(x: number): number {
  if (!(x > -reach && x < reach)) return x > 0 ? 1 : x * 0;
  const at = (x * steps + reach * steps + 0.5) | 0;
  const x0 = at / steps - reach;
  const d = x - x0;
  const curve = x0 * x0 - 1;
  const below = cumulative[at]! + density[at]! * d * (1 - d * (x0 / 2 - (d * curve) / 6));
  return below + x * density[at]! * (1 - d * (x0 - d * (curve / 2 - (d * x0 * (curve - 2)) / 6)));
}

/** `Φ(-x)` for x >= 0: by its power series below 3, by a continued fraction above. */
function lowerTail(x: number): number {
  const phi = Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
  if (x < 3) {
    let [term, sum] = [x, x];
    for (let n = 1; n < 60; n++) sum += term *= (x * x) / (2 * n + 1);
    return 0.5 - phi * sum;
  }
  let fraction = x;
  for (let n = 60; n > 0; n--) fraction = x + n / fraction;
  return phi / fraction;
}
