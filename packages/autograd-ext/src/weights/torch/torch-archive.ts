import { DTYPE_BITS } from '../dtypes/dtype.js';
import type { OpenedFile } from '../files/opened-file.js';
import { TorchFileError } from './torch-file-error.js';
import type { TorchStorage } from './torch-globals.js';

/** A torch file's pickle as a value, and the way to the storages that it speaks of. */
export interface TorchArchive {
  /** Of arrays, Maps, TorchTensors and so on: see `unpickle` and `torchMeaning`. */
  readonly value: unknown;
  /** @throws TorchFileError if the file does not hold it or it is of another size */
  locate(storage: TorchStorage): StorageBytes | Promise<StorageBytes>;
}

/** A storage's bytes in a file. */
export interface StorageBytes {
  readonly size: number;
  /** Where they begin, if they lie in the file as they are. */
  readonly offset?: number;
  /** The caller owns them. @throws TorchFileError if they are damaged, as far as the file tells */
  read(begin: number, end: number): Promise<Uint8Array>;
}

/** How a kind of torch file is opened. The opened file stays open meanwhile. */
export type OpenTorchArchive = (opened: OpenedFile) => Promise<TorchArchive>;

/** What a pickle may take, in bytes. It holds names and shapes; even the largest checkpoints' are some MB. */
export const MAX_PICKLE = 64 * 2 ** 20;

/** In bytes; a storage without dtype is counted in bytes. */
export const storageSize = ({ dtype, length }: TorchStorage): number =>
  (length * (dtype ? DTYPE_BITS.get(dtype)! : 8)) / 8;

/** @throws TorchFileError if a storage has other than the bytes that the pickle says */
export function checkStorageSize(storage: TorchStorage, got: number): void {
  const expected = storageSize(storage);
  if (got !== expected)
    throw new TorchFileError(
      `storage '${storage.key}' got ${got} bytes, expected ${expected} for ${storage.length} elements of ${storage.dtype ?? 'U8'}.`,
    );
}
