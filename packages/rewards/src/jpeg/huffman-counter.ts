/** The code word and its length in bits, by symbol. */
type Codes = ReadonlyMap<number, readonly [word: number, bits: number]>;

/** The Huffman tables of a luma or chroma component. */
export interface ComponentCodes {
  readonly dc: Codes;
  readonly ac: Codes;
}

// T.81, annex K.3, tables K.3 to K.6: the number of words of each length, and the symbols in that order.
export const lumaCodes: ComponentCodes = {
  dc: codes([0, 1, 5, 1, 1, 1, 1, 1, 1], '000102030405060708090a0b'),
  ac: codes(
    [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125],
    '01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728' +
      '292a3435363738393a434445464748494a535455565758595a636465666768696a737475767778797a83848586878889' +
      '8a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2' +
      'e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa',
  ),
};
export const chromaCodes: ComponentCodes = {
  dc: codes([0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1], '000102030405060708090a0b'),
  ac: codes(
    [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 119],
    '000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a162434e125f11718191a26' +
      '2728292a35363738393a434445464748494a535455565758595a636465666768696a737475767778797a828384858687' +
      '88898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9da' +
      'e2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9fa',
  ),
};

// The order in which coefficients are coded (T.81, figure A.6).
const zigzag = Array.from({ length: 64 }, (_, i) => i).sort((a, b) => {
  const diagonal = (i: number) => (i >> 3) + (i & 7);
  const along = (i: number) => (diagonal(i) % 2 ? i >> 3 : i & 7);
  return diagonal(a) - diagonal(b) || along(a) - along(b);
});

/** Counts the bytes of a baseline JPEG's entropy-coded data without storing them. */
export class HuffmanCounter {
  readonly #previous: number[];
  #count = 0;
  #pending = 0;
  #bits = 0;

  constructor(components: number) {
    this.#previous = new Array<number>(components).fill(0);
  }

  /**
   * Codes a block.
   * @param block 64 quantised coefficients row by row; undefined for a block with the component's last DC value alone
   */
  block(block: Int32Array | undefined, { dc, ac }: ComponentCodes, component: number): void {
    const first = block ? block[0]! : this.#previous[component]!;
    this.#value(dc, 0, first - this.#previous[component]!);
    this.#previous[component] = first;
    let zeros = 0;
    for (let k = 1; k < 64; k++) {
      const value = block?.[zigzag[k]!] ?? 0;
      if (value === 0) {
        zeros++;
        continue;
      }
      for (; zeros > 15; zeros -= 16) this.#write(...ac.get(0xf0)!);
      this.#value(ac, zeros, value);
      zeros = 0;
    }
    if (zeros > 0) this.#write(...ac.get(0)!);
  }

  /** Pads the last byte with ones, and returns the number of bytes. */
  bytes(): number {
    if (this.#bits > 0) this.#write(0x7f, 7);
    return this.#count;
  }

  /** Writes the word for a run of zeros and a size, then the bits of the value (T.81, F.1.2). */
  #value(codes: Codes, run: number, value: number): void {
    const size = 32 - Math.clz32(Math.abs(value));
    this.#write(...codes.get((run << 4) | size)!);
    if (size > 0) this.#write((value < 0 ? value - 1 : value) & ((1 << size) - 1), size);
  }

  #write(word: number, bits: number): void {
    this.#pending = (this.#pending << bits) | word; // at most 7 + 16 bits
    this.#bits += bits;
    for (; this.#bits >= 8; this.#bits -= 8) {
      const byte = (this.#pending >> (this.#bits - 8)) & 0xff;
      this.#count += byte === 0xff ? 2 : 1; // a zero byte follows 0xff
    }
    this.#pending &= 0xff;
  }
}

/** Assigns canonical code words to symbols (T.81, annex C). */
function codes(lengths: readonly number[], symbols: string): Codes {
  const result = new Map<number, readonly [number, number]>();
  let word = 0;
  let next = 0;
  lengths.forEach((count, i) => {
    for (let k = 0; k < count; k++) result.set(parseInt(symbols.slice(2 * next++, 2 * next), 16), [word++, i + 1]);
    word <<= 1;
  });
  return result;
}
