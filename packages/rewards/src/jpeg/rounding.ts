import { defineOp } from '@alignprop/autograd-ext';
import { add, mul, round, square, sub, type Tensor } from '@tensorflow/tfjs-core';

/**
 * How quantised coefficients are rounded and differentiated.
 * - `ste`: rounded as in an encoder; the gradient passes unchanged (straight-through estimator).
 * - `cubic`: r + (c − r)³ with r the rounded c, and its derivative 3(c − r)² (Shin and Song 2017, "JPEG-resistant
 *   adversarial images", equation 1): differentiable between the half-integers, flat at the integers.
 * - `none`: not rounded.
 */
export type Rounding = 'ste' | 'cubic' | 'none';

const roundings: Readonly<Record<Rounding, (c: Tensor) => Tensor>> = {
  ste: (c) => roundStraightThrough({ c }, {}),
  cubic: (c) => roundCubic({ c }, {}),
  none: (c) => c,
};

/**
 * Rounds to the nearest integer, halves to even, or approximates that.
 * @throws if the kind of rounding is unknown
 */
export function rounded(c: Tensor, rounding: Rounding): Tensor {
  const apply = roundings[rounding];
  if (!apply) throw new Error(`jpeg: rounding got '${rounding}', expected ${Object.keys(roundings).join(', ')}.`);
  return apply(c);
}

const roundStraightThrough = defineOp<object>({
  name: 'RoundStraightThrough',
  forward: ({ c }) => round(c!),
  gradient: (dy) => ({ c: () => dy }),
});

const roundCubic = defineOp<object>({
  name: 'RoundCubic',
  forward: ({ c }) => {
    const nearest = round(c!);
    const rest = sub(c!, nearest);
    return add(nearest, mul(square(rest), rest));
  },
  inputsToSave: ['c'],
  gradient: (dy, [c]) => ({ c: () => mul(dy, mul(square(sub(c!, round(c!))), 3)) }),
});
