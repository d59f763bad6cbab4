import {
  addI,
  advance,
  forEachFour,
  get,
  i32,
  int,
  mulI,
  set,
  v128,
  vec,
  type Code,
  type WasmFunction,
} from './assembler.js';
import { exponential } from './exponential.js';

/** A row of `value · gelu(gate)`: parameters value, gate, y, width (a multiple of 4). */
export const gegluRow: WasmFunction = (() => {
  const [value, gate, y, width, at, end, x, e, t] = [0, 1, 2, 3, 4, 5, 6, 7, 8] as const;
  return {
    name: 'gegluRow',
    params: Array<typeof i32>(4).fill(i32),
    locals: [i32, i32, v128, v128, v128],
    body: [
      set(end, addI(get(gate), mulI(get(width), int(4)))),
      forEachFour(get(gate), at, end, [
        set(x, vec.load(get(at))),
        normal(x, e, t),
        vec.store(get(y), vec.mul(vec.mul(vec.load(get(value)), get(x)), get(t))),
        [value, y].map((pointer) => advance(pointer, int(16))),
      ]),
    ],
  };
})();

/** Its gradient: parameters value, gate, dy, dvalue, dgate, width. */
export const gegluGradRow: WasmFunction = (() => {
  const [value, gate, dy, dvalue, dgate, width, at, end, x, e, t, g] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as const;
  const slope = vec.add(get(t), vec.mul(get(x), vec.mul(get(e), vec.constant(1 / Math.sqrt(2 * Math.PI)))));
  return {
    name: 'gegluGradRow',
    params: Array<typeof i32>(6).fill(i32),
    locals: [i32, i32, v128, v128, v128, v128],
    body: [
      set(end, addI(get(gate), mulI(get(width), int(4)))),
      forEachFour(get(gate), at, end, [
        set(x, vec.load(get(at))),
        set(g, vec.load(get(dy))),
        normal(x, e, t),
        vec.store(get(dvalue), vec.mul(vec.mul(get(g), get(x)), get(t))),
        vec.store(get(dgate), vec.mul(vec.mul(get(g), vec.load(get(value))), slope)),
        [value, dy, dvalue, dgate].map((pointer) => advance(pointer, int(16))),
      ]),
    ],
  };
})();

/**
 * `local t = Φ(x)` of the normal distribution and `local e = exp(-x²/2)`, by Abramowitz & Stegun 7.1.26 with 2Φ(x) =
 * erfc(-x/√2): within 1e-7 of Φ, and rounding.
 */
function normal(x: number, e: number, t: number): Code {
  const coefficients = [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592].map((a) => a / 2);
  const polynomial = coefficients
    .slice(1)
    .reduce((sum, a) => vec.add(vec.mul(sum, get(t)), vec.constant(a)), vec.constant(coefficients[0]!));
  return [
    exponential(vec.mul(vec.mul(get(x), get(x)), vec.constant(-0.5)), e, t),
    set(
      t,
      vec.div(
        vec.constant(1),
        vec.add(vec.mul(vec.abs(get(x)), vec.constant(0.3275911 * Math.SQRT1_2)), vec.constant(1)),
      ),
    ),
    set(t, vec.mul(vec.mul(polynomial, get(t)), get(e))), // Φ(-|x|)
    set(t, vec.select(vec.sub(vec.constant(1), get(t)), get(t), vec.greater(get(x), vec.constant(0)))),
  ];
}
