import { acrossLanes, addF, addI, divF, f32, float, get, i32, int, lessI, loopWhile, maxF, mulI, set, storeF, v128, vec, type Code, type WasmFunction } from './assembler.js';

/**
 * Softmax of a row in place: parameters row, visible, width. The first `visible` values take part, those up to `width`
 * (a multiple of 4) become 0.
 */
export const softmaxRow: WasmFunction = (() => {
  const [row, visible, width, at, end, total, largest, sum, t, x] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] as const;
  return {
    name: 'softmaxRow',
    params: [i32, i32, i32],
    locals: [i32, i32, f32, v128, v128, v128, v128],
    body: [
      set(end, addI(get(row), mulI(get(width), int(4)))),
      set(at, addI(get(row), mulI(get(visible), int(4)))),
      loopWhile(lessI(get(at), get(end)), [storeF(get(at), float(-Infinity)), next(at, 4)]),
      set(largest, vec.constant(-Infinity)),
      forEachFour(row, at, end, set(largest, vec.max(get(largest), vec.load(get(at))))),
      set(largest, vec.splat(acrossLanes(get(largest), maxF))),
      set(sum, vec.constant(0)),
      forEachFour(row, at, end, [
        exponential(vec.sub(vec.load(get(at)), get(largest)), x, t),
        vec.store(get(at), get(x)),
        set(sum, vec.add(get(sum), get(x))),
      ]),
      set(total, acrossLanes(get(sum), addF)),
      set(sum, vec.splat(divF(float(1), get(total)))),
      forEachFour(row, at, end, vec.store(get(at), vec.mul(vec.load(get(at)), get(sum)))),
    ],
  };
})();

/**
 * The gradient through a softmax row, in place of dp: `p · (dp - sum(p · dp)) · scale`. Parameters p, dp, width
 * (a multiple of 4), scale.
 */
export const softmaxGradRow: WasmFunction = (() => {
  const [p, dp, width, scale, at, end, shift, along, factor] = [0, 1, 2, 3, 4, 5, 6, 7, 8] as const;
  const here = vec.load(addI(get(at), get(shift)));
  return {
    name: 'softmaxGradRow',
    params: [i32, i32, i32, f32],
    locals: [i32, i32, i32, v128, v128],
    body: [
      set(end, addI(get(p), mulI(get(width), int(4)))),
      set(shift, addI(get(dp), mulI(get(p), int(-1)))),
      set(along, vec.constant(0)),
      forEachFour(p, at, end, set(along, vec.add(get(along), vec.mul(vec.load(get(at)), here)))),
      set(along, vec.splat(acrossLanes(get(along), addF))),
      set(factor, vec.splat(get(scale))),
      forEachFour(p, at, end, vec.store(addI(get(at), get(shift)), vec.mul(vec.mul(vec.load(get(at)), get(factor)), vec.sub(here, get(along))))),
    ],
  };
})();

function next(pointer: number, bytes: number): Code {
  return set(pointer, addI(get(pointer), int(bytes)));
}

function forEachFour(start: number, at: number, end: number, body: Code): Code {
  return [set(at, get(start)), loopWhile(lessI(get(at), get(end)), [body, next(at, 16)])];
}

/**
 * `local x = exp(value)` for values not above 0: 2^n · e^r with |r| <= ln(2)/2, e^r by Cephes' polynomial (within 1 ulp);
 * 0 below -87, where float32 runs out of exponents.
 */
function exponential(value: Code, x: number, n: number): Code {
  const coefficients = [1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1];
  const lowest = vec.constant(-87);
  const r = x;
  // r is also what tells which values are too low: clamped, they give the smallest result, and the mask removes it.
  const polynomial = coefficients.slice(1).reduce((sum, q) => vec.add(vec.mul(sum, get(r)), vec.constant(q)), vec.constant(coefficients[0]!));
  return [
    set(x, value),
    get(x), lowest, vec.greater([], []), // the mask stays on the stack
    set(x, vec.max(get(x), lowest)),
    set(n, vec.nearest(vec.mul(get(x), vec.constant(Math.LOG2E)))),
    set(r, vec.sub(vec.sub(get(x), vec.mul(get(n), vec.constant(0.693359375))), vec.mul(get(n), vec.constant(-2.12194440e-4)))),
    set(r, vec.add(vec.add(vec.mul(polynomial, vec.mul(get(r), get(r))), get(r)), vec.constant(1))),
    set(r, vec.and([], vec.addInt(get(r), vec.shiftLeft(vec.toInt(get(n)), 23)))),
  ];
}
