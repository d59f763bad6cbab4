// The 8-bit number format of 8-bit optimizers (arXiv 2110.02861, section 2.2; arXiv 1511.04561).

const exponents = 7;

/**
 * The 256 values of the dynamic data type, ascending, as `create_dynamic_map` of bitsandbytes' functional.py computes
 * them: decades from 1e-6 to 1, each divided twice as finely as the one below, and 0 and 1.
 * @param signed in [-1, 1], for first moments; else in [0, 1], for second ones
 */
export function dynamicMap(signed: boolean): Float32Array {
  const values = [0, 1];
  for (let i = 0; i < exponents; i++) {
    const scale = Math.fround(10 ** (i - exponents + 1));
    for (const fraction of middles(2 ** (signed ? i : i + 1))) {
      const value = Math.fround(scale * fraction);
      values.push(value);
      if (signed) values.push(-value);
    }
  }
  return Float32Array.from(values).sort();
}

/**
 * The middles of n equal parts of [0.1, 1], with the roundings of torch's float32 `linspace` on a CPU with fused
 * multiply-add.
 */
function middles(n: number): number[] {
  const [start, step] = [Math.fround(0.1), Math.fround(Math.fround(1 - Math.fround(0.1)) / n)];
  const boundary = (i: number) => Math.fround(i < Math.floor((n + 1) / 2) ? start + step * i : 1 - step * (n - i));
  return Array.from({ length: n }, (_, i) => Math.fround(Math.fround(boundary(i) + boundary(i + 1)) / 2));
}

/** Finds the nearest value of a map. A table by the 16 leading bits of a number leaves one or two candidates. */
export class NearestCode {
  readonly #first = new Uint8Array(2 ** 16);
  readonly #middles: Float64Array;

  /** @param map ascending */
  constructor(map: Float32Array) {
    this.#middles = Float64Array.from(map, (value, i) => (i + 1 < map.length ? (value + map[i + 1]!) / 2 : Infinity));
    const [bits, value] = [new Uint32Array(1), new Float32Array(1)];
    const shared = new Uint32Array(value.buffer);
    for (let key = 0; key < this.#first.length; key++) {
      bits[0] = key * 2 ** 16 + (key < 2 ** 15 ? 0 : 2 ** 16 - 1); // the lowest number with these leading bits
      shared[0] = bits[0];
      this.#first[key] = Number.isFinite(value[0]) ? this.#search(value[0]!) : 0;
    }
  }

  /**
   * Encodes numbers within the map's range as the indices of their nearest values, ties to the lower one.
   * @param to receives the indices from `start` on
   */
  encode(numbers: Float32Array, to: Uint8Array, start: number): void {
    const [first, middles] = [this.#first, this.#middles];
    const bits = new Uint32Array(numbers.buffer, numbers.byteOffset, numbers.length);
    for (let i = 0; i < numbers.length; i++) {
      const x = numbers[i]!;
      let code = first[bits[i]! >>> 16]!;
      while (x > middles[code]!) code++;
      to[start + i] = code;
    }
  }

  #search(x: number): number {
    const found = this.#middles.findIndex((middle) => x <= middle);
    return found < 0 ? this.#middles.length - 1 : found;
  }
}
