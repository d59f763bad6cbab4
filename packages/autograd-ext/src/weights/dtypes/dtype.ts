import { excerpt } from '../../outside/excerpt.js';
import { fromBfloat16, fromFloat16, toBfloat16, toFloat16 } from './float16.js';
import { fromFloat8 } from './float8.js';

/** Bits per element of every dtype of the safetensors format. `widen` reads some of them only. */
export const DTYPE_BITS = new Map<string, number>(
  Object.entries({
    BOOL: 8,
    F4: 4,
    F6_E2M3: 6,
    F6_E3M2: 6,
    U8: 8,
    I8: 8,
    F8_E5M2: 8,
    F8_E4M3: 8,
    F8_E5M2FNUZ: 8,
    F8_E4M3FNUZ: 8,
    F8_E8M0: 8,
    I16: 16,
    U16: 16,
    F16: 16,
    BF16: 16,
    I32: 32,
    U32: 32,
    F32: 32,
    F64: 64,
    I64: 64,
    U64: 64,
    C64: 64,
  }),
);

/** Returns the size of `count` elements in bytes; not a whole number where the last byte is not full (F4, F6). */
export const byteSize = (dtype: string, count: number): number => (count * DTYPE_BITS.get(dtype)!) / 8;

type Values = Float32Array | Int32Array;

const readers = new Map<string, (bytes: Uint8Array) => Values>(
  Object.entries({
    F32: (bytes) => view(Float32Array, bytes),
    F16: (bytes) => fromFloat16(view(Uint16Array, bytes)),
    BF16: (bytes) => fromBfloat16(view(Uint16Array, bytes)),
    F8_E4M3: (bytes) => fromFloat8('F8_E4M3', bytes),
    F8_E5M2: (bytes) => fromFloat8('F8_E5M2', bytes),
    F8_E4M3FNUZ: (bytes) => fromFloat8('F8_E4M3FNUZ', bytes),
    F8_E5M2FNUZ: (bytes) => fromFloat8('F8_E5M2FNUZ', bytes),
    F64: (bytes) => new Float32Array(view(Float64Array, bytes)),
    I64: (bytes) => narrow(view(BigInt64Array, bytes)),
    U64: (bytes) => narrow(view(BigUint64Array, bytes)),
    I32: (bytes) => view(Int32Array, bytes),
    U32: (bytes) => narrow(view(Uint32Array, bytes)),
    I16: (bytes) => new Int32Array(view(Int16Array, bytes)),
    U16: (bytes) => new Int32Array(view(Uint16Array, bytes)),
    I8: (bytes) => new Int32Array(view(Int8Array, bytes)),
    U8: (bytes) => new Int32Array(bytes),
    BOOL: (bytes) => new Int32Array(bytes),
  } satisfies Record<string, (bytes: Uint8Array) => Values>),
);

/**
 * Converts the bytes of a file to float32 (F64 is rounded) or int32.
 * @throws if the dtype has no reader or an integer does not fit int32
 */
export function widen(dtype: string, bytes: Uint8Array): Values {
  const read = readers.get(dtype);
  if (!read)
    throw new Error(
      `dtype got '${excerpt(dtype)}', expected one of ${[...readers.keys()].join(', ')}. ` +
        'Convert the file to float16 or float32.',
    );
  return read(bytes);
}

const writers = new Map<string, (values: ArrayLike<number>) => ArrayBufferView>(
  Object.entries({
    F32: (values) => Float32Array.from(values),
    F16: (values) => toFloat16(Float32Array.from(values)),
    BF16: (values) => toBfloat16(Float32Array.from(values)),
    F64: (values) => Float64Array.from(values),
    I64: (values) => BigInt64Array.from(Array.from(values, BigInt)),
    I32: (values) => Int32Array.from(values),
    I16: (values) => Int16Array.from(values),
    I8: (values) => Int8Array.from(values),
    U8: (values) => Uint8Array.from(values),
    BOOL: (values) => Uint8Array.from(values),
  } satisfies Record<string, (values: ArrayLike<number>) => ArrayBufferView>),
);

/** Converts values to the bytes of a file. @throws if the dtype has no writer */
export function narrowTo(dtype: string, values: ArrayLike<number>): Uint8Array {
  const write = writers.get(dtype);
  if (!write) throw new Error(`dtype got '${dtype}', expected one of ${[...writers.keys()].join(', ')}.`);
  const { buffer, byteOffset, byteLength } = write(values);
  return new Uint8Array(buffer, byteOffset, byteLength);
}

interface ViewConstructor<T> {
  readonly BYTES_PER_ELEMENT: number;
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): T;
}

/** Reinterprets bytes as another type of array. Copies them only where they are not aligned. */
function view<T>(Type: ViewConstructor<T>, bytes: Uint8Array): T {
  const aligned = bytes.byteOffset % Type.BYTES_PER_ELEMENT === 0 ? bytes : Uint8Array.from(bytes);
  return new Type(aligned.buffer, aligned.byteOffset, aligned.byteLength / Type.BYTES_PER_ELEMENT);
}

function narrow(values: BigInt64Array | BigUint64Array | Uint32Array): Int32Array {
  const narrowed = new Int32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const value = Number(values[i]);
    narrowed[i] = value;
    if (narrowed[i] !== value)
      throw new RangeError(`value ${i} got ${values[i]}, expected an integer between -2^31 and 2^31 - 1.`);
  }
  return narrowed;
}
