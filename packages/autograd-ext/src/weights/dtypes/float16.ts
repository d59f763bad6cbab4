/** The float32 value of every float16 bit pattern. */
let table: Float32Array | undefined;

/** Converts float16 (IEEE half precision) to float32. Exact, also for NaN and infinities. */
export function fromFloat16(halves: Uint16Array): Float32Array {
  const values = (table ??= buildTable());
  const floats = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) floats[i] = values[halves[i]!]!;
  return floats;
}

/** Converts bfloat16 (the upper half of a float32) to float32. Exact. */
export function fromBfloat16(halves: Uint16Array): Float32Array {
  const bits = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) bits[i] = halves[i]! << 16;
  return new Float32Array(bits.buffer);
}

/** Converts float32 to float16. Rounds half to even; values from 65520 become infinite, as in torch. */
export function toFloat16(floats: Float32Array): Uint16Array {
  const bits = new Uint32Array(floats.buffer, floats.byteOffset, floats.length);
  const halves = new Uint16Array(floats.length);
  for (let i = 0; i < floats.length; i++) halves[i] = halfBits(bits[i]!);
  return halves;
}

/** Converts float32 to bfloat16. Rounds half to even. */
export function toBfloat16(floats: Float32Array): Uint16Array {
  const bits = new Uint32Array(floats.buffer, floats.byteOffset, floats.length);
  const halves = new Uint16Array(floats.length);
  for (let i = 0; i < floats.length; i++) {
    const b = bits[i]!;
    const isNaN = (b & 0x7fffffff) > 0x7f800000;
    halves[i] = isNaN ? (b >>> 16) | 0x40 : (b + 0x7fff + ((b >>> 16) & 1)) >>> 16;
  }
  return halves;
}

function buildTable(): Float32Array {
  const bits = new Uint32Array(0x10000);
  for (let half = 0; half < 0x10000; half++) {
    const exponent = (half >> 10) & 0x1f;
    const fraction = half & 0x3ff;
    const magnitude =
      exponent === 0x1f
        ? 0x7f800000 | (fraction << 13)
        : exponent > 0
          ? ((exponent + 112) << 23) | (fraction << 13)
          : subnormalBits(fraction);
    bits[half] = ((half & 0x8000) << 16) | magnitude;
  }
  return new Float32Array(bits.buffer);
}

// A subnormal half, fraction · 2^-24, is a normal number in float32.
function subnormalBits(fraction: number): number {
  if (fraction === 0) return 0;
  const top = 31 - Math.clz32(fraction);
  return ((top + 103) << 23) | ((fraction << (23 - top)) & 0x7fffff);
}

function halfBits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00; // NaN
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // from 65520 on
  if (magnitude >= 0x38800000) return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  return sign | subnormalHalf(magnitude);
}

// Below 2^-14: shift the fraction, with its implicit leading one, to units of 2^-24 and round half to even.
function subnormalHalf(magnitude: number): number {
  const shift = 126 - (magnitude >>> 23);
  if (shift > 24) return 0;
  const fraction = (magnitude & 0x7fffff) | 0x800000;
  const half = fraction >>> shift;
  const remainder = fraction & ((1 << shift) - 1);
  const middle = 1 << (shift - 1);
  return half + (remainder > middle || (remainder === middle && half & 1) ? 1 : 0);
}
