// A WebAssembly assembler, as small as the kernels beside it allow: https://webassembly.github.io/spec/core/binary/

/** Bytes of instructions, nested as is convenient. */
export type Code = readonly (number | Code)[];

export const i32 = 0x7f;
export const f32 = 0x7d;
export const f64 = 0x7c;
export const v128 = 0x7b;
type ValueType = typeof i32 | typeof f32 | typeof f64 | typeof v128;

/** A function without result, exported under its name. */
export interface WasmFunction {
  readonly name: string;
  readonly params: readonly ValueType[];
  readonly locals: readonly ValueType[];
  readonly body: Code;
}

/** The binary of a module of these functions, on the memory it imports as `env.memory`. */
export function assemble(functions: readonly WasmFunction[]): Uint8Array<ArrayBuffer> {
  const types = functions.map(({ params }) => [0x60, vector(params.map((type) => [type])), 0x00]);
  const memory = [text('env'), text('memory'), 0x02, 0x00, 0x01]; // at least one page, not shared
  const exports = functions.map(({ name }, i) => [text(name), 0x00, unsigned(i)]);
  const codes = functions.map(({ locals, body }) => sized([vector(locals.map((type) => [1, type])), body, 0x0b]));
  return Uint8Array.from(
    flat([
      [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
      [0x01, sized(vector(types))],
      [0x02, sized(vector([memory]))],
      [0x03, sized(vector(functions.map((_, i) => unsigned(i))))],
      [0x07, sized(vector(exports))],
      [0x0a, sized(vector(codes))],
    ]),
  );
}

const flat = (code: Code): number[] => code.flat(Infinity as 1) as number[];
const sized = (code: Code): Code => [unsigned(flat(code).length), code];
const vector = (items: readonly Code[]): Code => [unsigned(items.length), ...items];
const text = (name: string): Code => [unsigned(name.length), ...new TextEncoder().encode(name)];
const unsigned = (n: number): Code => (n < 128 ? [n] : [(n & 127) | 128, unsigned(n >>> 7)]);
const signed = (n: number): Code => (n >= -64 && n < 64 ? [n & 127] : [(n & 127) | 128, signed(n >> 7)]);
const floatBytes = (x: number): Code => [...new Uint8Array(Float32Array.of(x).buffer)];
const simd = (op: number): Code => [0xfd, unsigned(op)];

export const get = (local: number): Code => [0x20, unsigned(local)];
export const set = (local: number, value: Code): Code => [value, 0x21, unsigned(local)];
export const int = (n: number): Code => [0x41, signed(n)];
export const float = (x: number): Code => [0x43, floatBytes(x)];
export const double = (x: number): Code => [0x44, [...new Uint8Array(Float64Array.of(x).buffer)]];

const binary =
  (op: Code) =>
  (a: Code, b: Code): Code => [a, b, op];
const unary =
  (op: Code) =>
  (a: Code): Code => [a, op];
export const addI = binary([0x6a]);
export const mulI = binary([0x6c]);
export const lessI = binary([0x48]);
export const addF = binary([0x92]);
export const divF = binary([0x95]);
export const maxF = binary([0x97]);
export const addD = binary([0xa0]);
export const subD = binary([0xa1]);
export const mulD = binary([0xa2]);
export const divD = binary([0xa3]);
export const sqrtD = unary([0x9f]);
export const toDouble = unary([0xbb]);
export const intToDouble = unary([0xb7]);
export const toFloat = unary([0xb6]);
export const storeF = (address: Code, value: Code): Code => [address, value, 0x38, 2, 0];

/** Four float32 (or int32) at once. */
export const vec = {
  load: (address: Code, offset = 0): Code => [address, simd(0x00), 2, unsigned(offset)],
  loadSplat: (address: Code): Code => [address, simd(0x09), 2, 0],
  store: (address: Code, value: Code, offset = 0): Code => [address, value, simd(0x0b), 2, unsigned(offset)],
  splat: unary(simd(0x13)),
  constant: (x: number): Code => [simd(0x0c), Array<Code>(4).fill(floatBytes(x))],
  lane: (a: Code, i: number): Code => [a, simd(0x1f), i],
  add: binary(simd(0xe4)),
  sub: binary(simd(0xe5)),
  mul: binary(simd(0xe6)),
  max: binary(simd(0xe9)),
  div: binary(simd(0xe7)),
  abs: unary(simd(0xe0)),
  greater: binary(simd(0x44)),
  /** Lanes of `a` where the mask is set, of `b` elsewhere. */
  select: (a: Code, b: Code, mask: Code): Code => [a, b, mask, simd(0x52)],
  and: binary(simd(0x4e)),
  nearest: unary(simd(0x6a)),
  toInt: unary(simd(0xf8)),
  shiftLeft: (a: Code, bits: number): Code => [a, int(bits), simd(0xab)],
  addInt: binary(simd(0xae)),
};

/** Two float64 at once, widened from the lower or upper float32 of four. */
export const vec2 = {
  low: unary(simd(0x5f)),
  high: (a: Code): Code => vec2.low([a, a, simd(0x0d), [8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7]]),
  add: binary(simd(0xf0)),
  mul: binary(simd(0xf2)),
  zero: [simd(0x0c), Array<number>(16).fill(0)] as Code,
  total: (a: Code): Code => addD([a, simd(0x21), 0], [a, simd(0x21), 1]),
};

/** The four lanes joined by `join`. */
export const acrossLanes = (a: Code, join: (a: Code, b: Code) => Code): Code =>
  join(join(vec.lane(a, 0), vec.lane(a, 1)), join(vec.lane(a, 2), vec.lane(a, 3)));

/** Runs `body` as long as `condition` holds before it. */
export const loopWhile = (condition: Code, body: Code): Code => [
  0x02,
  0x40,
  0x03,
  0x40,
  condition,
  0x45,
  0x0d,
  1,
  body,
  0x0c,
  0,
  0x0b,
  0x0b,
];
export const ifElse = (condition: Code, then: Code, otherwise: Code): Code => [
  condition,
  0x04,
  0x40,
  then,
  0x05,
  otherwise,
  0x0b,
];
/** Moves a pointer. */
export const advance = (pointer: number, bytes: Code): Code => set(pointer, addI(get(pointer), bytes));
/** Runs `body` with `at` on each four floats from `start` to `end`. */
export const forEachFour = (start: Code, at: number, end: number, body: Code): Code => [
  set(at, start),
  loopWhile(lessI(get(at), get(end)), [body, advance(at, int(16))]),
];
