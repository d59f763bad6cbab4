import { joinBytes } from '@alignprop/autograd-ext/weights';

/** Bytes of a block. A record that crosses its end is split. */
const BLOCK = 32_768;
/** Checksum, length and type of a part. */
const PART_HEADER = 7;
const partTypes = { full: 1, first: 2, middle: 3, last: 4 } as const;

type Checksum = (data: Uint8Array) => number;

/** A file of records. */
export interface RecordLog {
  /** Appends records. They are in the file when the promise resolves. */
  append(records: readonly Uint8Array[]): Promise<void>;
}

/**
 * Creates a `.wandb` file: LevelDB's log format after a header of its own, with plain CRC-32 checksums. The header is
 * `:W&B`, a magic number and version 0.
 * @throws if the file exists or cannot be written
 */
export async function createRecordLog(path: string): Promise<RecordLog> {
  const { appendFile } = await import('node:fs/promises');
  const { crc32 } = await import('node:zlib');
  const header = new Uint8Array([...new TextEncoder().encode(':W&B'), 0xe1, 0xbe, 0]);
  await appendFile(path, header, { flag: 'ax' });
  let length = header.length;
  return {
    async append(records) {
      const parts: Uint8Array[] = [];
      for (const record of records) {
        for (const part of split(record, length % BLOCK, crc32)) {
          parts.push(part);
          length += part.length;
        }
      }
      await appendFile(path, joinBytes(parts));
    },
  };
}

/** Splits a record at the ends of blocks. @param offset bytes of the current block that are written */
function* split(record: Uint8Array, offset: number, checksum: Checksum): Generator<Uint8Array> {
  let left = BLOCK - offset;
  if (left < PART_HEADER) {
    yield new Uint8Array(left);
    left = BLOCK;
  }
  let start = 0;
  do {
    const data = record.subarray(start, start + left - PART_HEADER);
    const end = start + data.length;
    yield part(data, partType(start === 0, end === record.length), checksum);
    start = end;
    left = BLOCK;
  } while (start < record.length);
}

function partType(isFirst: boolean, isLast: boolean): number {
  if (isFirst) return isLast ? partTypes.full : partTypes.first;
  return isLast ? partTypes.last : partTypes.middle;
}

function part(data: Uint8Array, type: number, checksum: Checksum): Uint8Array {
  const bytes = new Uint8Array(PART_HEADER + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint16(4, data.length, true);
  view.setUint8(6, type);
  bytes.set(data, PART_HEADER);
  view.setUint32(0, checksum(bytes.subarray(6)), true); // of type and data
  return bytes;
}
