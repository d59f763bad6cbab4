import { TorchFileError } from './torch-file-error.js';

/** A pickle goes on after the bytes at hand. */
export class PickleCutOff extends TorchFileError {}

// A length of more bytes is no number of use; parsing long ones takes a time that grows with the square.
const MAX_INTEGER_BYTES = 256;
const MAX_PROTOCOL = 5;

/** The operands of a pickle's instructions. Every read throws PickleCutOff where the bytes end. */
export class PickleReader {
  private readonly view: DataView;
  private readonly utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

  constructor(
    private readonly source: Uint8Array,
    /** The next byte. */
    public at: number,
  ) {
    this.view = new DataView(source.buffer, source.byteOffset, source.byteLength);
  }

  /** Past the next bytes. @returns where they begin */
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

  /** Little-endian, as all integers of the format. */
  uint(size: 1 | 2 | 4 | 8): number {
    const start = this.skip(size);
    if (size === 1) return this.view.getUint8(start);
    if (size === 2) return this.view.getUint16(start, true);
    if (size === 4) return this.view.getUint32(start, true);
    return Number(this.view.getBigUint64(start, true));
  }

  float(): number {
    return this.view.getFloat64(this.skip(8)); // the one number that is big-endian
  }

  /** Two's complement of any length: a number where it is safe, else a bigint. */
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

  /** Text up to the end of the line, and past it. */
  line(): string {
    const end = this.source.indexOf(0x0a, this.at);
    const text = this.text((end < 0 ? this.source.length + 1 : end) - this.at);
    this.skip(1);
    return text;
  }

  protocol(): void {
    const version = this.uint(1);
    if (version > MAX_PROTOCOL)
      throw new TorchFileError(`the pickle's protocol got ${version}, expected at most ${MAX_PROTOCOL}.`);
  }
}
