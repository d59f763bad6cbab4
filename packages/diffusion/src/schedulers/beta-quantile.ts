/**
 * Returns the quantile of a beta distribution: the x in [0, 1] with I_x(a, b) = p.
 * @param p in [0, 1]
 */
export function betaQuantile(p: number, a: number, b: number): number {
  if (p <= 0 || p >= 1) return Math.min(Math.max(p, 0), 1);
  let [low, high] = [0, 1];
  for (let i = 0; i < 64; i++) {
    const middle = (low + high) / 2;
    if (regularized(middle, a, b) < p) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** The regularized incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22). */
function regularized(x: number, a: number, b: number): number {
  if (x > (a + 1) / (a + b + 2)) return 1 - regularized(1 - x, b, a);
  const logBeta = logGamma(a) + logGamma(b) - logGamma(a + b);
  const front = Math.exp(a * Math.log(x) + b * Math.log1p(-x) - logBeta) / a;
  let fraction = 0;
  for (let m = 200; m >= 1; m--) {
    const half = Math.floor(m / 2);
    const numerator =
      m % 2 === 0
        ? (half * (b - half) * x) / ((a + m - 1) * (a + m))
        : (-(a + half) * (a + b + half) * x) / ((a + m - 1) * (a + m));
    fraction = numerator / (1 + fraction);
  }
  return front / (1 + fraction);
}

/** ln Γ(x) for x > 0: Stirling's series (DLMF 5.11.1) at x + 10, and the recurrence down to x. */
function logGamma(x: number): number {
  let product = 1;
  for (let i = 0; i < 10; i++) product *= x + i;
  const y = x + 10;
  const series = 1 / (12 * y) - 1 / (360 * y ** 3) + 1 / (1260 * y ** 5) - 1 / (1680 * y ** 7);
  return (y - 0.5) * Math.log(y) - y + 0.5 * Math.log(2 * Math.PI) + series - Math.log(product);
}
