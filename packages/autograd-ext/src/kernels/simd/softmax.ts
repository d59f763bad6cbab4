import {
  acrossLanes,
  addF,
  addI,
  advance,
  divF,
  f32,
  float,
  forEachFour,
  get,
  i32,
  int,
  lessI,
  loopWhile,
  maxF,
  mulI,
  set,
  storeF,
  v128,
  vec,
  type WasmFunction,
} from './assembler.js';
import { exponential } from './exponential.js';

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
      loopWhile(lessI(get(at), get(end)), [storeF(get(at), float(-Infinity)), advance(at, int(4))]),
      set(largest, vec.constant(-Infinity)),
      forEachFour(get(row), at, end, set(largest, vec.max(get(largest), vec.load(get(at))))),
      set(largest, vec.splat(acrossLanes(get(largest), maxF))),
      set(sum, vec.constant(0)),
      forEachFour(get(row), at, end, [
        exponential(vec.sub(vec.load(get(at)), get(largest)), x, t),
        vec.store(get(at), get(x)),
        set(sum, vec.add(get(sum), get(x))),
      ]),
      set(total, acrossLanes(get(sum), addF)),
      set(sum, vec.splat(divF(float(1), get(total)))),
      forEachFour(get(row), at, end, vec.store(get(at), vec.mul(vec.load(get(at)), get(sum)))),
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
      forEachFour(get(p), at, end, set(along, vec.add(get(along), vec.mul(vec.load(get(at)), here)))),
      set(along, vec.splat(acrossLanes(get(along), addF))),
      set(factor, vec.splat(get(scale))),
      forEachFour(
        get(p),
        at,
        end,
        vec.store(
          addI(get(at), get(shift)),
          vec.mul(vec.mul(vec.load(get(at)), get(factor)), vec.sub(here, get(along))),
        ),
      ),
    ],
  };
})();
