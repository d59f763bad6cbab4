import { TorchFileError } from './torch-file-error.js';

/** Thrown where the bytes end before the pickle does. The caller may read more of the file and try again. */
export class PickleCutOff extends TorchFileError {}

// Longer integers have no use here, and the time to parse one grows with the square of its length.
const MAX_INTEGER_BYTES = 256;
const MAX_PROTOCOL = 5;

/** Reads the operands of a pickle's instructions. Every read throws PickleCutOff where the bytes end. */
export class PickleReader {
  private readonly view: DataView;
  private readonly utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

  constructor(
    private readonly source: Uint8Array,
    /** The position of the next byte. */
    public at: number,
  ) {
    this.view = new DataView(source.buffer, source.byteOffset, source.byteLength);
  }

  /** Moves past the next bytes. @returns the position of the first of them */
  skip(length: number): number {
    const start = this.at;
    if (length > this.source.length - start)
      throw new PickleCutOff(
        `the pickle got ${this.source.length - start} more bytes at byte ${start}, expected ${length}: it was cut off.`,
      );
    this.at += length;
    return start;
  }

  bytes(length: number): Uint8Array {
    const start = this.skip(length);
    return this.source.subarray(start, this.at);
  }

  /** Reads an unsigned integer. All integers of the format are little-endian. */
  uint(size: 1 | 2 | 4 | 8): number {
    const start = this.skip(size);
    if (size === 1) return this.view.getUint8(start);
    if (size === 2) return this.view.getUint16(start, true);
    if (size === 4) return this.view.getUint32(start, true);
    return Number(this.view.getBigUint64(start, true));
  }

  float(): number {
    return this.view.getFloat64(this.skip(8)); // the only big-endian number of the format
  }

  /** Reads an integer in two's complement: a number where that is exact, else a bigint. */
  integer(length: number): number | bigint {
    if (length > MAX_INTEGER_BYTES)
      throw new TorchFileError(`the pickle got an integer of ${length} bytes, expected at most ${MAX_INTEGER_BYTES}.`);
    const bytes = this.bytes(length);
    const magnitude = bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
    const value = BigInt.asIntN(8 * length, magnitude);
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }

  text(length: number): string {
    const start = this.at;
    try {
      return this.utf8.decode(this.bytes(length));
    } catch (cause) {
      if (cause instanceof TorchFileError) throw cause;
      throw new TorchFileError(`the pickle got text at byte ${start} that is not UTF-8.`, undefined, { cause });
    }
  }

  /** Reads text up to the end of the line, and moves past it. */
  line(): string {
    const end = this.source.indexOf(0x0a, this.at);
    const text = this.text((end < 0 ? this.source.length + 1 : end) - this.at);
    this.skip(1);
    return text;
  }

  /** Reads the protocol's version. @throws TorchFileError if it is too new */
  protocol(): void {
    const version = this.uint(1);
    if (version > MAX_PROTOCOL)
      throw new TorchFileError(`the pickle's protocol got ${version}, expected at most ${MAX_PROTOCOL}.`);
  }
}
