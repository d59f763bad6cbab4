import { excerpt, excerptJson } from '../../outside/excerpt.js';
import { parseJson } from '../../outside/json.js';
import { byteSize, DTYPE_BITS } from '../dtypes/dtype.js';

/** A tensor of a safetensors file. `begin` and `end` are in bytes, from the end of the header. */
export interface TensorInfo {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/** The header of a safetensors file. */
export interface SafetensorsHeader {
  /** The tensors by name, in the order of their data. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** The size of the header's length, a little-endian uint64 at the start of the file. */
export const PREFIX = 8;
/** Room for 200,000 tensors. The reference implementation allows 100 MB, which take a gigabyte to parse. */
const MAX_HEADER = 25_000_000;

/**
 * Reads the length of the header from the first eight bytes of a file.
 * @throws if the file is too small, or the length exceeds 25 MB or the file
 */
export function headerLength(prefix: Uint8Array, fileSize: number): number {
  if (prefix.length < PREFIX)
    throw new Error(`size got ${fileSize} bytes, expected at least ${PREFIX}: the file is empty or was cut off.`);
  const length = new DataView(prefix.buffer, prefix.byteOffset, PREFIX).getBigUint64(0, true);
  if (length > MAX_HEADER)
    throw new Error(`header length got ${length}, expected at most ${MAX_HEADER}: this is not a safetensors file.`);
  if (PREFIX + Number(length) > fileSize)
    throw new Error(`header length got ${length}, expected at most ${fileSize - PREFIX}: the file was cut off.`);
  return Number(length);
}

/**
 * Parses and checks a header: every byte of the data must belong to exactly one tensor of matching size.
 * @param dataSize the number of bytes after the header
 * @throws if the header is not valid or does not describe `dataSize` bytes
 */
export function parseHeader(bytes: Uint8Array, dataSize: number): SafetensorsHeader {
  const { __metadata__: comments, ...rest } = parseObject(bytes);
  const metadata = comments ?? {}; // null as in Python's reader
  if (!isRecord(metadata) || !Object.values(metadata).every((value) => typeof value === 'string'))
    throw new Error('__metadata__ got other values, expected an object of strings.');
  const infos = Object.entries(rest).map(([name, value]) => [name, parseInfo(name, value)] as const);
  infos.sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  checkCoverage(infos, dataSize);
  return { tensors: new Map(infos), metadata: metadata as Record<string, string> };
}

function parseObject(bytes: Uint8Array): Record<string, unknown> {
  let value: unknown;
  try {
    value = parseJson(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (cause) {
    throw new Error(`the header is not JSON in UTF-8 (${excerpt((cause as Error).message)}).`, { cause });
  }
  if (!isRecord(value))
    throw new Error(`the header got ${Array.isArray(value) ? 'an array' : excerptJson(value)}, expected an object.`);
  return value;
}

function parseInfo(name: string, value: unknown): TensorInfo {
  if (!isRecord(value))
    throw new Error(
      `tensor '${excerpt(name)}' got ${excerptJson(value)}, expected an object with dtype, shape and data_offsets.`,
    );
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== 'string' || !DTYPE_BITS.has(dtype))
    throw new Error(
      `tensor '${excerpt(name)}': dtype got ${excerptJson(dtype)}, ` +
        `expected one of ${[...DTYPE_BITS.keys()].join(', ')}.`,
    );
  if (!isCounts(shape))
    throw new Error(`tensor '${excerpt(name)}': shape got ${excerptJson(shape)}, expected whole numbers from 0.`);
  if (!isCounts(offsets) || offsets.length !== 2)
    throw new Error(
      `tensor '${excerpt(name)}': data_offsets got ${excerptJson(offsets)}, expected two whole numbers from 0.`,
    );
  return { dtype, shape, begin: offsets[0]!, end: offsets[1]! };
}

/** Checks that the tensors cover the data without overlaps and holes. */
function checkCoverage(infos: readonly (readonly [string, TensorInfo])[], dataSize: number): void {
  let covered = 0;
  for (const [name, { dtype, shape, begin, end }] of infos) {
    if (begin !== covered || end < begin)
      throw new Error(
        `tensor '${excerpt(name)}': data_offsets got [${begin}, ${end}], expected to begin at ${covered}: ` +
          'data overlaps or has holes.',
      );
    const bytes = byteSize(dtype, shape.reduce(multiply, 1));
    if (end - begin !== bytes)
      throw new Error(
        `tensor '${excerpt(name)}': data_offsets got ${end - begin} bytes, ` +
          `expected ${bytes} for ${dtype} of shape [${excerpt(shape.join(', '))}].`,
      );
    covered = end;
  }
  if (covered !== dataSize) {
    const problem = covered > dataSize ? 'the file was cut off' : 'bytes follow the last tensor';
    throw new Error(`data got ${dataSize} bytes, expected ${covered}: ${problem}.`);
  }
}

/** Multiplies sizes. @throws if the product is not exact */
function multiply(a: number, b: number): number {
  if (a * b > Number.MAX_SAFE_INTEGER)
    throw new Error(`a shape got more than 2^53 elements, expected what a file can hold.`);
  return a * b;
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isCounts = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((count) => Number.isSafeInteger(count) && count >= 0);
