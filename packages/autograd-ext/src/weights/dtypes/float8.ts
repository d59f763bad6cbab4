/** A float8 format: one bit for the sign, the rest for exponent and fraction. */
interface Float8Format {
  readonly fractionBits: number;
  readonly bias: number;
  /** Returns NaN or an infinity for the bits that stand for one, sign excluded; undefined for a number. */
  special(magnitude: number): number | undefined;
  /** The bit pattern that means NaN and would else be -0; undefined where it is -0. */
  readonly isUnsignedZero?: boolean;
}

/** The float8 formats of torch, by their names in safetensors (`float8_e4m3fn` is F8_E4M3 there). */
const formats = {
  F8_E4M3: { fractionBits: 3, bias: 7, special: (magnitude) => (magnitude === 0x7f ? NaN : undefined) },
  F8_E5M2: {
    fractionBits: 2,
    bias: 15,
    special: (magnitude) => (magnitude < 0x7c ? undefined : magnitude === 0x7c ? Infinity : NaN),
  },
  F8_E4M3FNUZ: { fractionBits: 3, bias: 8, special: () => undefined, isUnsignedZero: true },
  F8_E5M2FNUZ: { fractionBits: 2, bias: 16, special: () => undefined, isUnsignedZero: true },
} as const satisfies Record<string, Float8Format>;

/** The names of the float8 formats that `fromFloat8` reads. */
export type Float8Name = keyof typeof formats;

const tables = new Map<Float8Name, Float32Array>();

/** Converts float8 to float32. Exact, also for NaN and infinities. */
export function fromFloat8(name: Float8Name, bytes: Uint8Array): Float32Array {
  const table = tables.get(name) ?? Float32Array.from({ length: 0x100 }, (_, bits) => valueOf(formats[name], bits));
  tables.set(name, table);
  return Float32Array.from(bytes, (bits) => table[bits]!);
}

function valueOf({ fractionBits, bias, special, isUnsignedZero }: Float8Format, bits: number): number {
  if (isUnsignedZero && bits === 0x80) return NaN;
  const magnitude = bits & 0x7f;
  const sign = bits & 0x80 ? -1 : 1;
  const exponent = magnitude >> fractionBits;
  const fraction = (magnitude & ((1 << fractionBits) - 1)) / (1 << fractionBits);
  const value = exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias);
  return sign * (special(magnitude) ?? value);
}
