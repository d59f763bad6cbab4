/** The exponent bits of the numbers in a word of 32 bits, and the lowest of these bits. */
interface Exponents {
  readonly mask: number;
  readonly lowest: number;
}

// Adding the lowest bit to an exponent of ones, that of NaN and infinity, sets the number's sign bit and no other.
const exponents = new Map<string, Exponents>(
  Object.entries({
    F32: { mask: 0x7f800000, lowest: 0x00800000 },
    F16: { mask: 0x7c007c00, lowest: 0x04000400 },
    BF16: { mask: 0x7f807f80, lowest: 0x00800080 },
  }),
);
const SIGNS = 0x80008000;

/**
 * Whether bytes of a file are finite numbers: true for integers. Looks at exponents only, 32 bits at a time.
 * @param bytes whole elements of F32, F16, BF16 or an integer dtype, little-endian
 */
export function areFinite(dtype: string, bytes: Uint8Array): boolean {
  const bits = exponents.get(dtype);
  if (!bits) return true;
  const whole = bytes.length & ~3;
  const rest = new Uint8Array(4);
  rest.set(bytes.subarray(whole));
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : Uint8Array.from(bytes);
  const words = new Int32Array(aligned.buffer, aligned.byteOffset, whole / 4);
  return !hasFullExponent(words, bits) && !hasFullExponent(new Int32Array(rest.buffer), bits);
}

function hasFullExponent(words: Int32Array, { mask, lowest }: Exponents): boolean {
  let signs = 0;
  const end = words.length & ~3;
  for (let i = 0; i < end; i += 4)
    signs |=
      ((words[i]! & mask) + lowest) |
      ((words[i + 1]! & mask) + lowest) |
      ((words[i + 2]! & mask) + lowest) |
      ((words[i + 3]! & mask) + lowest);
  for (let i = end; i < words.length; i++) signs |= (words[i]! & mask) + lowest;
  return (signs & SIGNS) !== 0;
}
