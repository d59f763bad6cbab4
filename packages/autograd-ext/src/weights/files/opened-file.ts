import type { FileSource, RandomAccessFile } from './file-source.js';

/** A file whose header was read before it was closed. Its tensors open it again when they are read. */
export interface OpenedFile {
  readonly source: FileSource;
  readonly path: string;
  /** The closed file: its name, its path and the size that it had. */
  readonly file: RandomAccessFile;
}

/** A file that is open again, and the number of reads under way. */
interface Reopened {
  readonly file: Promise<RandomAccessFile>;
  reads: number;
}

const reopened = new WeakMap<RandomAccessFile, Reopened>();

/**
 * Opens the file again and calls `read`. Reads that follow at once, as those of a model's hundreds of tensors do, find
 * the file open: it is closed in the next turn of the event loop if none is under way.
 * @throws if its size has changed
 */
export async function reopen<T>(opened: OpenedFile, read: (file: RandomAccessFile) => Promise<T>): Promise<T> {
  const { file: closed } = opened;
  const open = reopened.get(closed) ?? { file: openAgain(opened), reads: 0 };
  reopened.set(closed, open);
  open.reads++;
  const file = await open.file.catch((error: unknown) => {
    if (reopened.get(closed) === open) reopened.delete(closed);
    throw error;
  });
  try {
    return await read(file);
  } finally {
    open.reads--;
    // Nobody waits for this: the values have been read, and a file that does not close stops no program.
    setTimeout(() => void closeUnused(closed, open, file).catch(() => {}));
  }
}

async function openAgain({ source, path, file: { size } }: OpenedFile): Promise<RandomAccessFile> {
  const file = await source.open(path);
  if (file.size === size) return file;
  await file.close();
  throw new Error(
    `StoredTensor.read: '${file.name}' got ${file.size} bytes, expected ${size}: it changed after it was opened. ` +
      'Load the model again.',
  );
}

async function closeUnused(closed: RandomAccessFile, open: Reopened, file: RandomAccessFile): Promise<void> {
  if (open.reads > 0 || reopened.get(closed) !== open) return;
  reopened.delete(closed);
  await file.close();
}
