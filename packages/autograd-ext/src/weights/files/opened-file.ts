import type { FileSource, RandomAccessFile } from './file-source.js';

/** A file that was looked at and closed: its tensors open it again when they are read. */
export interface OpenedFile {
  readonly source: FileSource;
  readonly path: string;
  /** As it was then. */
  readonly file: RandomAccessFile;
}

/** Reads from the file once more, and closes it. @throws if its size has changed since */
export async function reopened<T>(
  { source, path, file: { size } }: OpenedFile,
  read: (file: RandomAccessFile) => Promise<T>,
): Promise<T> {
  const file = await source.open(path);
  try {
    if (file.size !== size)
      throw new Error(
        `StoredTensor.read: '${file.name}' got ${file.size} bytes, expected ${size}: it changed after it was opened. Load the model again.`,
      );
    return await read(file);
  } finally {
    await file.close();
  }
}
