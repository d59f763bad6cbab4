import {
  addD,
  addI,
  advance,
  divD,
  double,
  f64,
  forEachFour,
  get,
  i32,
  int,
  intToDouble,
  lessI,
  loopWhile,
  mulD,
  mulI,
  set,
  sqrtD,
  subD,
  toDouble,
  toFloat,
  v128,
  vec,
  vec2,
  type Code,
  type WasmFunction,
} from './assembler.js';

/**
 * For each channel of `[rows, channels]`, sums over the rows of a and of a · b, in float64: parameters a, b, rows,
 * channels (a multiple of 4), sums (`channels` float64 of the first kind, then of the second).
 */
export const columnSums: WasmFunction = (() => {
  const [a, b, rows, channels, sums, at, end, row, pa, pb, x, y] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] as const;
  const totals = [12, 13, 14, 15] as const;
  return {
    name: 'columnSums',
    params: Array<typeof i32>(5).fill(i32),
    locals: [...Array<typeof i32>(5).fill(i32), ...Array<typeof v128>(6).fill(v128)],
    body: [
      set(end, addI(get(a), mulI(get(channels), int(4)))),
      forEachFour(get(a), at, end, [
        set(pa, get(at)),
        set(pb, addI(get(b), addI(get(at), mulI(get(a), int(-1))))),
        set(row, int(0)),
        clear(totals),
        loopWhile(lessI(get(row), get(rows)), [
          set(x, vec.load(get(pa))),
          set(y, vec.load(get(pb))),
          accumulate(totals, x, y),
          [pa, pb].map((pointer) => advance(pointer, mulI(get(channels), int(4)))),
          advance(row, int(1)),
        ]),
        vec.store(get(sums), get(totals[0])),
        vec.store(get(sums), get(totals[1]), 16),
        vec.store(addI(get(sums), mulI(get(channels), int(8))), get(totals[2])),
        vec.store(addI(get(sums), mulI(get(channels), int(8))), get(totals[3]), 16),
        advance(sums, int(32)),
      ]),
    ],
  };
})();

/**
 * `(x - m) · p + e`, plus `dy · a` where dy is not 0, with coefficients m, p, e, a a channel, `channels` of each:
 * parameters x, dy, y, rows, channels, coefficients.
 */
export const columnAffine = (withGradient: boolean): WasmFunction => {
  const [x, dy, y, rows, channels, coefficients, at, end, row, size] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] as const;
  const coefficient = (i: number) => vec.load(addI(get(at), mulI(get(size), int(i))));
  const normalised = vec.add(vec.mul(vec.sub(vec.load(get(x)), coefficient(0)), coefficient(1)), coefficient(2));
  return {
    name: withGradient ? 'columnAffineGrad' : 'columnAffine',
    params: Array<typeof i32>(6).fill(i32),
    locals: Array<typeof i32>(4).fill(i32),
    body: [
      set(size, mulI(get(channels), int(4))),
      set(end, addI(get(coefficients), get(size))),
      set(row, int(0)),
      loopWhile(lessI(get(row), get(rows)), [
        forEachFour(get(coefficients), at, end, [
          vec.store(
            get(y),
            withGradient ? vec.add(normalised, vec.mul(vec.load(get(dy)), coefficient(3))) : normalised,
          ),
          [x, y, dy].map((pointer) => advance(pointer, int(16))),
        ]),
        advance(row, int(1)),
      ]),
    ],
  };
};

/** Layer normalisation of a row: parameters x, weight, bias, y, width (a multiple of 4), eps. */
export const layerNormRow: WasmFunction = (() => {
  const [x, weight, bias, y, width, eps, at, end, mean, scale, v] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10] as const;
  const totals = [11, 12, 13, 14] as const;
  const [shift, factor, rest] = totals;
  return {
    name: 'layerNormRow',
    params: [i32, i32, i32, i32, i32, f64],
    locals: [i32, i32, f64, f64, ...Array<typeof v128>(5).fill(v128)],
    body: [
      set(end, addI(get(x), mulI(get(width), int(4)))),
      rowMoments({ x, width, eps, at, end, mean, scale, v, totals }),
      set(shift, vec.splat(toFloat(get(mean)))),
      set(factor, vec.splat(toFloat(get(scale)))),
      set(rest, vec.splat(toFloat(mulD(roundingOf(mean), get(scale))))),
      forEachFour(get(x), at, end, [
        set(v, vec.add(vec.mul(vec.sub(vec.load(get(at)), get(shift)), get(factor)), get(rest))),
        vec.store(get(y), vec.add(vec.mul(get(v), vec.load(get(weight))), vec.load(get(bias)))),
        [weight, bias, y].map((pointer) => advance(pointer, int(16))),
      ]),
    ],
  };
})();

/** The gradient of its input: parameters x, weight, dy, dx, width, eps. */
export const layerNormGradRow: WasmFunction = (() => {
  const [x, weight, dy, dx, width, eps, at, end, pw, pd, mean, scale, shift, slope, v, g] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
  ] as const;
  const totals = [16, 17, 18, 19] as const;
  const [meanV, scaleV, shiftV, slopeV] = totals;
  const gradient = [
    set(g, vec.mul(vec.load(get(pd)), vec.load(get(pw)))),
    [pw, pd].map((pointer) => advance(pointer, int(16))),
  ];
  const rewind = [set(pw, get(weight)), set(pd, get(dy))];
  const count = intToDouble(get(width));
  return {
    name: 'layerNormGradRow',
    params: [i32, i32, i32, i32, i32, f64],
    locals: [i32, i32, i32, i32, f64, f64, f64, f64, ...Array<typeof v128>(6).fill(v128)],
    body: [
      set(end, addI(get(x), mulI(get(width), int(4)))),
      rowMoments({ x, width, eps, at, end, mean, scale, v, totals }),
      rewind,
      clear(totals),
      forEachFour(get(x), at, end, [gradient, set(v, vec.load(get(at))), accumulate(totals, g, v)]), // of g and g · x
      set(shift, divD(total(totals[0], totals[1]), count)),
      // the mean of g · (x - mean)
      set(slope, subD(divD(total(totals[2], totals[3]), count), mulD(get(mean), get(shift)))),
      set(slope, mulD(get(slope), mulD(get(scale), get(scale)))),
      set(shift, addD(get(shift), mulD(roundingOf(mean), get(slope)))),
      (
        [
          [meanV, mean],
          [scaleV, scale],
          [shiftV, shift],
          [slopeV, slope],
        ] as const
      ).map(([to, from]) => set(to, vec.splat(toFloat(get(from))))),
      rewind,
      forEachFour(get(x), at, end, [
        gradient,
        set(v, vec.mul(vec.sub(vec.load(get(at)), get(meanV)), get(slopeV))),
        vec.store(get(dx), vec.mul(vec.sub(vec.sub(get(g), get(shiftV)), get(v)), get(scaleV))),
        advance(dx, int(16)),
      ]),
    ],
  };
})();

type Totals = readonly [number, number, number, number];

function clear(totals: Totals): Code {
  return totals.map((total) => set(total, vec2.zero));
}

/** What is added to a float64 by rounding it to float32. */
function roundingOf(x: number): Code {
  return subD(toDouble(toFloat(get(x))), get(x));
}

function total(low: number, high: number): Code {
  return addD(vec2.total(get(low)), vec2.total(get(high)));
}

/** Adds the lanes of a to the first two totals and those of a · b, exactly, to the others. */
function accumulate([lowA, highA, lowAB, highAB]: Totals, a: number, b: number): Code {
  return (
    [
      [vec2.low, lowA, lowAB],
      [vec2.high, highA, highAB],
    ] as const
  ).map(([half, sum, products]) => [
    set(sum, vec2.add(get(sum), half(get(a)))),
    set(products, vec2.add(get(products), vec2.mul(half(get(a)), half(get(b))))),
  ]);
}

/**
 * `local mean` and `local scale = 1/sqrt(variance + eps)`. Products of float32 are exact in float64: one pass is
 * enough.
 */
function rowMoments({
  x,
  width,
  eps,
  at,
  end,
  mean,
  scale,
  v,
  totals,
}: {
  x: number;
  width: number;
  eps: number;
  at: number;
  end: number;
  mean: number;
  scale: number;
  v: number;
  totals: Totals;
}): Code {
  const count = intToDouble(get(width));
  const variance = subD(divD(total(totals[2], totals[3]), count), mulD(get(mean), get(mean)));
  return [
    clear(totals),
    forEachFour(get(x), at, end, [set(v, vec.load(get(at))), accumulate(totals, v, v)]),
    set(mean, divD(total(totals[0], totals[1]), count)),
    set(scale, divD(double(1), sqrtD(addD(variance, get(eps))))),
  ];
}
