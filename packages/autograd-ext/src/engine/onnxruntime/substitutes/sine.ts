import { add, mul, scalar, sub } from '../emit/builders.js';
import { node, type GraphNode, type Value } from '../graph/graph.js';

// Sine and cosine by a polynomial. WGSL promises 2⁻¹¹ between -π and π, and nothing outside; models take the sine of
// time steps up to 1000.

/** π as a sum whose first parts have few bits, so that their products with integers below 2¹³ are exact (Cephes). */
const partsOfPi = [3.140625, 9.67502593994140625e-4, 1.509957990978376e-7] as const;
/** Taylor's coefficients of sin(r) / r by powers of r²: off by 6e-8 at π/2. */
const coefficients = [-1 / 39916800, 1 / 362880, -1 / 5040, 1 / 120, -1 / 6, 1] as const;

export const sine = ({ inputs: [x] }: GraphNode): Value => {
  const turns = rounded(mul(x!, scalar(1 / Math.PI)));
  return mul(signOf(turns), sineNearZero(withoutTurns(x!, turns)));
};

/** cos(x) = (-1)ᵏ · sin(x - (k - 1/2) · π). */
export const cosine = ({ inputs: [x] }: GraphNode): Value => {
  const above = rounded(add(mul(x!, scalar(1 / Math.PI)), scalar(0.5)));
  return mul(signOf(above), sineNearZero(withoutTurns(x!, sub(above, scalar(0.5)))));
};

export const tangent = (candidate: GraphNode): Value => {
  const [y, c] = [sine(candidate), cosine(candidate)];
  return node('Div', [y, c], y.shape);
};

/** Computes x - turns · π. */
const withoutTurns = (x: Value, turns: Value): Value =>
  partsOfPi.reduce((rest, part) => sub(rest, mul(turns, scalar(part))), x);

/** The sine between -π/2 and π/2. */
function sineNearZero(r: Value): Value {
  const square = mul(r, r);
  const [first, ...others] = coefficients;
  const sum = others.reduce<Value>((value, next) => add(mul(value, square), scalar(next)), scalar(first));
  return mul(r, sum);
}

/** 1 for even numbers, -1 for odd ones. */
function signOf(count: Value): Value {
  const half = mul(count, scalar(0.5));
  const odd = mul(sub(half, node('Floor', [half], half.shape)), scalar(2));
  return sub(scalar(1), mul(odd, scalar(2)));
}

const rounded = (x: Value): Value => node('Floor', [add(x, scalar(0.5))], x.shape);
