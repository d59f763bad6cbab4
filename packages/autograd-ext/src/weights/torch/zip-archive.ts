import type { RandomAccessFile } from '../files/file-source.js';
import { crc32 } from './crc32.js';
import { ADVICE, TorchFileError } from './torch-file-error.js';

// Reads zip archives by ranges, in Node and in browsers. yauzl (npm) needs Node's Buffer and streams and leaves CRC-32
// to its users; fflate needs the whole archive in memory or as a stream; zip.js (about 108 kB minified) knows the
// position of a member, which engines need to map it, only after reading the member.

/** A file of a zip archive. */
export interface ZipMember {
  readonly name: string;
  /** Whether it is compressed with deflate; if not, it is stored as it is. */
  readonly deflated: boolean;
  /** Its CRC-32; undefined where the writer did not compute it. */
  readonly crc: number | undefined;
  /** The size in the archive, in bytes. */
  readonly storedSize: number;
  /** The size after decompression, in bytes. */
  readonly size: number;
  /** The position of its local header. */
  readonly headerOffset: number;
}

const END = 0x06054b50;
const END_SIZE = 22;
const LOCATOR_64 = 0x07064b50;
const LOCATOR_64_SIZE = 20;
const END_64 = 0x06064b50;
const END_64_SIZE = 56;
const ENTRY = 0x02014b50;
const ENTRY_SIZE = 46;
const LOCAL = 0x04034b50;
const LOCAL_SIZE = 30;
const MAX_COMMENT = 0xffff;
const MAX_DIRECTORY = 16 * 2 ** 20;
// Deflate compresses at most 1032 bytes into one.
const MAX_RATIO = 1032;

/** Whether a file starts as a zip archive does. */
export const isZip = (beginning: Uint8Array): boolean =>
  beginning.length >= 4 && dataView(beginning).getUint32(0, true) === LOCAL;

/**
 * Reads the central directory of an archive, zip64 included. Returns its files by name.
 * @throws TorchFileError if the table of contents is missing, invalid, larger than 16 MiB or names a file twice
 */
export async function readZipDirectory(file: RandomAccessFile): Promise<Map<string, ZipMember>> {
  const { offset, size, count } = await findDirectory(file);
  if (size > MAX_DIRECTORY || offset + size > file.size)
    throw new TorchFileError(
      `the archive's table of contents got ${size} bytes at ${offset}, ` +
        `expected at most ${MAX_DIRECTORY} within the file.`,
    );
  const bytes = await file.read(offset, size);
  const members = new Map<string, ZipMember>();
  for (let at = 0, i = 0; i < count; i++) {
    const { member, end } = parseEntry(bytes, at);
    if (members.has(member.name)) throw new TorchFileError(`the archive holds '${member.name}' twice.`);
    members.set(member.name, member);
    at = end;
  }
  return members;
}

/** Returns the position of a member's bytes. @throws TorchFileError if they are not within the file */
export async function locateMember(
  file: RandomAccessFile,
  { name, headerOffset, storedSize }: ZipMember,
): Promise<number> {
  const tooShort = () =>
    new TorchFileError(
      `'${name}' of the archive got ${storedSize} bytes at ${headerOffset}, ` +
        `expected them within the file's ${file.size}.`,
    );
  if (headerOffset + LOCAL_SIZE > file.size) throw tooShort();
  const header = dataView(await file.read(headerOffset, LOCAL_SIZE));
  if (header.getUint32(0, true) !== LOCAL)
    throw new TorchFileError(`'${name}' of the archive got no header at byte ${headerOffset}, where it should begin.`);
  const start = headerOffset + LOCAL_SIZE + header.getUint16(26, true) + header.getUint16(28, true);
  if (start + storedSize > file.size) throw tooShort();
  return start;
}

/**
 * Reads a member, decompresses it and compares its checksum. @throws TorchFileError if it is damaged or larger than
 * `maxSize`
 */
export async function readMember(file: RandomAccessFile, member: ZipMember, maxSize = Infinity): Promise<Uint8Array> {
  if (member.size > maxSize)
    throw new TorchFileError(`'${member.name}' of the archive got ${member.size} bytes, expected at most ${maxSize}.`);
  const stored = await file.read(await locateMember(file, member), member.storedSize);
  const bytes = member.deflated ? await inflate(stored, member) : stored;
  checkCrc(member, crc32(bytes));
  return bytes;
}

/** @throws TorchFileError if the checksum of a member's bytes differs from that in the archive */
export function checkCrc({ name, crc }: ZipMember, actual: number): void {
  if (crc !== undefined && actual !== crc)
    throw new TorchFileError(
      `the checksum of '${name}' got ${actual.toString(16)}, expected ${crc.toString(16)}: ` +
        'its values are not those that were saved.',
    );
}

/** Decompresses a member. @throws TorchFileError if it is damaged or has another size than the archive says */
async function inflate(stored: Uint8Array, { name, size }: ZipMember): Promise<Uint8Array> {
  const wrongSize = () =>
    new TorchFileError(`'${name}' of the archive got other than ${size} bytes when decompressed.`);
  if (size > MAX_RATIO * (stored.length + 1)) throw wrongSize();
  const bytes = new Uint8Array(size);
  let at = 0;
  try {
    const chunks = new Blob([stored as Uint8Array<ArrayBuffer>])
      .stream()
      .pipeThrough(new DecompressionStream('deflate-raw'));
    for await (const chunk of chunks as unknown as AsyncIterable<Uint8Array>) {
      if (at + chunk.length > size) throw wrongSize();
      bytes.set(chunk, at);
      at += chunk.length;
    }
  } catch (cause) {
    if (cause instanceof TorchFileError) throw cause;
    throw new TorchFileError(
      `'${name}' of the archive cannot be decompressed (${(cause as Error).message}).`,
      undefined,
      { cause },
    );
  }
  if (at !== size) throw wrongSize();
  return bytes;
}

/** The position of the central directory. */
interface Directory {
  readonly offset: number;
  readonly size: number;
  readonly count: number;
}

/** Finds the central directory by the record at the end of the archive. */
async function findDirectory(file: RandomAccessFile): Promise<Directory> {
  const tailStart = Math.max(0, file.size - END_SIZE - MAX_COMMENT - LOCATOR_64_SIZE);
  const tail = dataView(await file.read(tailStart, file.size - tailStart));
  for (let at = tail.byteLength - END_SIZE; at >= 0; at--) {
    // A comment must reach exactly to the end of the file.
    if (tail.getUint32(at, true) !== END || at + END_SIZE + tail.getUint16(at + 20, true) !== tail.byteLength) continue;
    const locator = at - LOCATOR_64_SIZE;
    if (locator >= 0 && tail.getUint32(locator, true) === LOCATOR_64)
      return findDirectory64(file, uint64(tail, locator + 8));
    return {
      count: tail.getUint16(at + 10, true),
      size: tail.getUint32(at + 12, true),
      offset: tail.getUint32(at + 16, true),
    };
  }
  throw new TorchFileError(
    'the end of the archive, with its table of contents, is not there: the file was cut off or something was appended.',
    ADVICE.download,
  );
}

async function findDirectory64(file: RandomAccessFile, offset: number): Promise<Directory> {
  const end = offset + END_64_SIZE <= file.size ? dataView(await file.read(offset, END_64_SIZE)) : undefined;
  if (end?.getUint32(0, true) !== END_64)
    throw new TorchFileError(`the archive's zip64 record is not at byte ${offset}.`);
  return { count: uint64(end, 32), size: uint64(end, 40), offset: uint64(end, 48) };
}

/** Parses one entry of the central directory. Returns the member and the position of the next entry. */
function parseEntry(bytes: Uint8Array, at: number): { member: ZipMember; end: number } {
  const invalid = () => new TorchFileError(`the archive's table of contents is not valid at byte ${at}.`);
  const entry = dataView(bytes.subarray(at));
  if (entry.byteLength < ENTRY_SIZE || entry.getUint32(0, true) !== ENTRY) throw invalid();
  const nameEnd = ENTRY_SIZE + entry.getUint16(28, true);
  const extraEnd = nameEnd + entry.getUint16(30, true);
  const end = extraEnd + entry.getUint16(32, true);
  if (end > entry.byteLength) throw invalid();
  const name = new TextDecoder().decode(bytes.subarray(at + ENTRY_SIZE, at + nameEnd));
  const [size, storedSize, headerOffset] = readZip64(
    [entry.getUint32(24, true), entry.getUint32(20, true), entry.getUint32(42, true)],
    bytes.subarray(at + nameEnd, at + extraEnd),
  );
  const method = entry.getUint16(10, true);
  const encrypted = entry.getUint16(8, true) & 1;
  if (encrypted || (method !== 0 && method !== 8))
    throw new TorchFileError(
      `'${name}' of the archive is ${encrypted ? 'encrypted' : `compressed with method ${method}`}, ` +
        'expected it stored or deflated.',
      'Save it again with torch.',
    );
  if (
    size === undefined ||
    storedSize === undefined ||
    headerOffset === undefined ||
    (method === 0 && size !== storedSize)
  )
    throw invalid();
  // torch writes zero where it does not compute checksums (torch.serialization.set_crc32_options).
  const crc = entry.getUint32(16, true) || undefined;
  return { member: { name, deflated: method === 8, crc, size, storedSize, headerOffset }, end: at + end };
}

/** Replaces 32-bit numbers that are all ones by those of the zip64 extra field, which has them in the same order. */
function readZip64(numbers: readonly number[], extra: Uint8Array): readonly (number | undefined)[] {
  const fields = dataView(extra);
  let at = 0;
  while (at + 4 <= extra.length && fields.getUint16(at, true) !== 1) at += 4 + fields.getUint16(at + 2, true);
  at += 4;
  return numbers.map((number) => {
    if (number !== 0xffffffff) return number;
    at += 8;
    return at <= extra.length ? uint64(fields, at - 8) : undefined;
  });
}

// Not exact beyond 2^53, which is larger than any file.
const uint64 = (view: DataView, at: number): number => Number(view.getBigUint64(at, true));

const dataView = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
