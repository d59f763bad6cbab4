// Builds torch files that torch itself would not write.
import { crc32 } from '../crc32.js';

export const bytesOf = (...parts: (string | number | Uint8Array)[]): Uint8Array =>
  new Uint8Array(
    Buffer.concat(
      parts.map((part) =>
        typeof part === 'number' ? Uint8Array.of(part) : typeof part === 'string' ? Buffer.from(part) : part,
      ),
    ),
  );

const little = (size: number, value: number) => {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  return bytes.subarray(0, size);
};

export interface ZipOptions {
  /** Writes sizes and offsets in zip64 records, as in archives of more than 4 GB. */
  readonly zip64?: boolean;
  readonly crc?: (bytes: Uint8Array) => number;
  readonly comment?: string;
}

/** Bytes at a position of a file. Between segments are zeros. */
export type Segment = readonly [at: number, bytes: Uint8Array];

/** Builds a zip archive of uncompressed files; a number gives a file of that many zeros. */
export function zipSegments(
  files: readonly (readonly [name: string, contents: Uint8Array | number])[],
  { zip64 = false, crc = crc32, comment = '' }: ZipOptions = {},
) {
  const segments: Segment[] = [];
  let end = 0;
  let directory = bytesOf();
  for (const [name, contents] of files) {
    const length = typeof contents === 'number' ? contents : contents.length;
    const sizes = [length, length, end];
    const extra = zip64 ? bytesOf(little(2, 1), little(2, 24), ...sizes.map((size) => little(8, size))) : bytesOf();
    const [size, stored, offset] = sizes.map((value) => little(4, zip64 ? 0xffffffff : value));
    const sum = typeof contents === 'number' ? 0 : crc(contents);
    const common = bytesOf(
      little(2, 20),
      little(4, 0),
      little(4, 0),
      little(4, sum),
      stored!,
      size!,
      little(2, name.length),
    );
    directory = bytesOf(
      directory,
      'PK\x01\x02',
      little(2, 20),
      common,
      little(2, extra.length),
      little(2, 0),
      little(4, 0),
      little(4, 0),
      offset!,
      name,
      extra,
    );
    const local = bytesOf('PK\x03\x04', common, little(2, 0), name);
    segments.push([end, typeof contents === 'number' ? local : bytesOf(local, contents)]);
    end += local.length + length;
  }
  const record = bytesOf(
    'PK\x06\x06',
    little(8, 44),
    little(4, 0),
    little(8, 0),
    little(8, files.length),
    little(8, files.length),
    little(8, directory.length),
    little(8, end),
  );
  const locator = bytesOf('PK\x06\x07', little(4, 0), little(8, end + directory.length), little(4, 1));
  const [count, size, offset] = zip64 ? [0xffff, 0xffffffff, 0xffffffff] : [files.length, directory.length, end];
  const last = bytesOf(
    'PK\x05\x06',
    little(4, 0),
    little(2, count),
    little(2, count),
    little(4, size),
    little(4, offset),
    little(2, comment.length),
    comment,
  );
  const tail = bytesOf(directory, ...(zip64 ? [record, locator] : []), last);
  return { segments: [...segments, [end, tail] as const], size: end + tail.length };
}

/** Builds a zip archive of uncompressed files in memory. */
export const zipOf = (
  files: readonly (readonly [name: string, contents: Uint8Array])[],
  options?: ZipOptions,
): Uint8Array => bytesOf(...zipSegments(files, options).segments.map(([, bytes]) => bytes));

/** Builds a file in the format since torch 1.6 from a pickle and storages. */
export const torchZipOf = (
  pickle: Uint8Array,
  storages: Readonly<Record<string, Uint8Array>> = {},
  options?: ZipOptions,
): Uint8Array =>
  zipOf(
    [['a/data.pkl', pickle], ...Object.entries(storages).map(([key, data]) => [`a/data/${key}`, data] as const)],
    options,
  );

/** Encoders of the parts of a pickle. */
export const pickled = {
  text: (text: string) => bytesOf('X', little(4, new TextEncoder().encode(text).length), text),
  int: (value: number) => bytesOf('J', little(4, value)),
  tuple: (...items: Uint8Array[]) => bytesOf('(', ...items, 't'),
  dict: (...items: Uint8Array[]) => bytesOf('}(', ...items, 'u'),
  global: (module: string, name: string) => bytesOf('c', module, '\n', name, '\n'),
  storage: (type: string, key: string, length: number) =>
    bytesOf(
      pickled.tuple(
        pickled.text('storage'),
        pickled.global('torch', type),
        pickled.text(key),
        pickled.text('cpu'),
        pickled.int(length),
      ),
      'Q',
    ),
  tensor: (storage: Uint8Array, offset: number, shape: readonly number[], strides: readonly number[]) =>
    bytesOf(
      pickled.global('torch._utils', '_rebuild_tensor_v2'),
      pickled.tuple(
        storage,
        pickled.int(offset),
        pickled.tuple(...shape.map(pickled.int)),
        pickled.tuple(...strides.map(pickled.int)),
        bytesOf(0x89),
        bytesOf('}'),
      ),
      'R',
    ),
  file: (value: Uint8Array) => bytesOf(0x80, 2, value, '.'),
};
