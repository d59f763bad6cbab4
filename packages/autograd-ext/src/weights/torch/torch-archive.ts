import type { OpenedFile } from '../files/opened-file.js';
import { TorchFileError } from './torch-file-error.js';
import { storageSize, type TorchStorage } from './torch-tensor.js';

/** The value of a torch file's pickle, and access to its storages. */
export interface TorchArchive {
  /** Consists of arrays, Maps, TorchTensors and so on: see `unpickle` and `torchMeaning`. */
  readonly value: unknown;
  /** Finds a storage in the file. @throws TorchFileError if it is not there or has another size */
  locate(storage: TorchStorage): StorageBytes | Promise<StorageBytes>;
}

/** The bytes of a storage in a file. */
export interface StorageBytes {
  /** In bytes. */
  readonly size: number;
  /** The storage as a range of the file; absent if it is compressed. */
  readonly range?: FileRange;
  /** Returns bytes that the caller owns. @throws TorchFileError if a checksum shows that they are damaged */
  read(begin: number, end: number): Promise<Uint8Array>;
}

/** A storage that lies in the file as it is. */
interface FileRange {
  /** The position of its first byte in the file. */
  readonly offset: number;
  /** Calls `visit` with a part of the storage in pieces of whole elements. @throws as `StorageBytes.read` */
  scan(begin: number, end: number, visit: (piece: Uint8Array) => void): Promise<void>;
}

/** Opens one kind of torch file. The caller keeps `opened.file` open during the call. */
export type OpenTorchArchive = (opened: OpenedFile) => Promise<TorchArchive>;

/** The maximal size of a pickle in bytes. It contains names and shapes: a few MB in the largest checkpoints. */
export const MAX_PICKLE = 64 * 2 ** 20;

/** @throws TorchFileError if a storage of `size` bytes is not as large as the pickle says */
export function checkStorageSize(storage: TorchStorage, size: number): void {
  const expected = storageSize(storage);
  if (size !== expected)
    throw new TorchFileError(
      `storage '${storage.key}' got ${size} bytes, ` +
        `expected ${expected} for ${storage.length} elements of ${storage.dtype ?? 'U8'}.`,
    );
}
