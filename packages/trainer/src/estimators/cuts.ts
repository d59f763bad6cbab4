import type { TorchGenerator } from '@alignprop/autograd-ext';

/** A random step index: steps below it are detached. */
export interface Cut {
  /** Draws a cut. */
  draw(generator: TorchGenerator): number;
  /** P(cut ≤ step). */
  cdf(step: number): number;
}

/** A constant cut; nothing is drawn from the generator. */
export const fixed = (value: number): Cut => ({ draw: () => value, cdf: (step) => (step >= value ? 1 : 0) });

/**
 * A uniform integer in [min, max), as `torch.randint`. Pass `max + 1` for Python's `random.randint`, which includes the
 * upper bound.
 */
export const uniform = (min: number, max: number): Cut => ({
  draw: (generator) => generator.randint(min, max, 1)[0]!,
  cdf: (step) => Math.min(1, Math.max(0, (Math.floor(step) - min + 1) / (max - min))),
});

/** A normal variable, truncated towards zero as Python's `int()` does. */
export const gaussian = (mean: number, std: number): Cut => ({
  draw: (generator) => Math.trunc(mean + std * generator.randn(1)[0]!),
  cdf: (step) => normalCdf(((step < 0 ? Math.floor(step) : Math.floor(step) + 1) - mean) / std),
});

/** Φ(x) by the error function's expansion in Abramowitz & Stegun, 7.1.26; within 1e-7. */
function normalCdf(x: number): number {
  if (!Number.isFinite(x)) return x > 0 ? 1 : 0;
  const z = Math.abs(x) / Math.SQRT2;
  const t = 1 / (1 + 0.3275911 * z);
  const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  const upper = (series * Math.exp(-z * z)) / 2;
  return x > 0 ? 1 - upper : upper;
}
