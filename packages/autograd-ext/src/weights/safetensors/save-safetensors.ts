import type { Tensor } from '@tensorflow/tfjs-core';
import { table } from '../../outside/record.js';
import { elementCount, isStoredTensor, isTensor, type StoredTensor } from '../../params.js';
import { byteSize, DTYPE_BITS, narrowTo } from '../dtypes/dtype.js';
import { joinBytes } from '../files/join-bytes.js';
import { writeFileAtomic } from '../files/write-file-atomic.js';
import { PREFIX } from './safetensors-header.js';

/** Values to write as `dtype`, spelled as in the file: F32, F16, BF16, F64, I64, I32, I16, I8, U8 or BOOL. */
export interface RawTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array | Uint8Array;
}

/** A tensor is written as float32, int32 or bool; to write it as float16, pass its values as a `RawTensor`. */
export type SafetensorsEntry = Tensor | RawTensor;

/**
 * Writes a safetensors file atomically (`writeFileAtomic`), with one tensor at a time in memory. Tensors that are still
 * in files are read and keep their dtype.
 * @throws if the file cannot be written, or the dtype or number of values of a tensor is wrong
 */
export async function saveSafetensors(
  path: string,
  tensors: Readonly<Record<string, SafetensorsEntry | StoredTensor>>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const entries = inFileOrder(Object.entries(tensors));
  const header = encodeHeader(entries, metadata);
  const size = entries.reduce((sum, [, entry]) => sum + bytesOf(entry), header.byteLength);
  await writeFileAtomic(path, contents(), size);

  async function* contents() {
    yield header;
    for (const [name, entry] of entries) yield encodeValues(name, entry, await valuesOf(entry));
  }
}

/** Encodes a safetensors file in memory. @throws if the dtype or number of values of a tensor is wrong */
export function encodeSafetensors(
  tensors: Readonly<Record<string, SafetensorsEntry>>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const entries = inFileOrder(Object.entries(tensors));
  const values = entries.map(([name, entry]) =>
    encodeValues(name, entry, isTensor(entry) ? entry.dataSync() : entry.data),
  );
  return joinBytes([encodeHeader(entries, metadata), ...values]);
}

type Entry = SafetensorsEntry | StoredTensor;

const fileDtypes = table<string>({ float32: 'F32', int32: 'I32', bool: 'BOOL' });

function dtypeOf(entry: Entry): string {
  return isTensor(entry) ? (fileDtypes[entry.dtype] ?? entry.dtype) : entry.dtype;
}

/** The bytes of an entry; 0 for an unknown dtype, which `encodeValues` refuses. */
const bytesOf = (entry: Entry): number =>
  DTYPE_BITS.has(dtypeOf(entry)) ? byteSize(dtypeOf(entry), elementCount(entry.shape)) : 0;

/**
 * Sorts tensors as the reference implementation does: wide dtypes first, so that every tensor is aligned to its dtype,
 * then by name.
 */
function inFileOrder<T extends Entry>(entries: readonly (readonly [string, T])[]): (readonly [string, T])[] {
  const bits = (entry: Entry) => DTYPE_BITS.get(dtypeOf(entry)) ?? 0;
  return [...entries].sort(([a, x], [b, y]) => bits(y) - bits(x) || (a < b ? -1 : 1));
}

function encodeHeader(
  entries: readonly (readonly [string, Entry])[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  if (entries.some(([name]) => name === '__metadata__'))
    throw new Error(
      "saveSafetensors: a tensor's name got '__metadata__', expected any other: the format keeps it for comments. " +
        'Rename it.',
    );
  let end = 0;
  const infos = entries.map(([name, entry]) => {
    const begin = end;
    end += bytesOf(entry);
    return [name, { dtype: dtypeOf(entry), shape: entry.shape, data_offsets: [begin, end] }] as const;
  });
  const comments = Object.keys(metadata).length ? ([['__metadata__', metadata]] as const) : [];
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries<unknown>([...comments, ...infos])));
  const length = Math.ceil(json.length / 8) * 8;
  const header = new Uint8Array(PREFIX + length).fill(0x20, PREFIX); // padded with spaces
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(json, PREFIX);
  return header;
}

async function valuesOf(entry: Entry): Promise<ArrayLike<number>> {
  if (isTensor(entry)) return entry.data();
  return isStoredTensor(entry) ? entry.read() : entry.data;
}

function encodeValues(name: string, entry: Entry, values: ArrayLike<number>): Uint8Array {
  const size = elementCount(entry.shape);
  if (values.length !== size)
    throw new Error(
      `saveSafetensors: tensor '${name}' got ${values.length} values, ` +
        `expected ${size} for shape [${entry.shape.join(', ')}].`,
    );
  try {
    return narrowTo(dtypeOf(entry), values);
  } catch (cause) {
    throw new Error(`saveSafetensors: tensor '${name}': ${(cause as Error).message}`, { cause });
  }
}
