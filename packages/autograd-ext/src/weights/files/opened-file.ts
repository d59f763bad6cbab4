import type { FileSource, RandomAccessFile } from './file-source.js';

/** A file whose header was read before it was closed. Its tensors open it again when they are read. */
export interface OpenedFile {
  readonly source: FileSource;
  readonly path: string;
  /** The closed file: its name, its path and the size that it had. */
  readonly file: RandomAccessFile;
}

/** Opens the file again, calls `read` and closes the file. @throws if its size has changed */
export async function reopen<T>(
  { source, path, file: { size } }: OpenedFile,
  read: (file: RandomAccessFile) => Promise<T>,
): Promise<T> {
  const file = await source.open(path);
  try {
    if (file.size !== size)
      throw new Error(
        `StoredTensor.read: '${file.name}' got ${file.size} bytes, expected ${size}: it changed after it was opened. ` +
          'Load the model again.',
      );
    return await read(file);
  } finally {
    await file.close();
  }
}
