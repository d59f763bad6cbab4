import { syncFolder } from './sync-folder.js';

/** What a file is made of: one piece, or many written one after another. */
export type FileContents = string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/**
 * Writes a file so that it is there complete or not at all, whenever the process is killed or the power fails: under a
 * temporary name in the same folder, flushed to the disk, then renamed. Missing folders are made; on failure the
 * temporary file is removed and an older file stays as it was.
 * @throws if the folder or the file cannot be written, or making the contents failed
 */
export async function writeFileAtomic(path: string, contents: FileContents): Promise<void> {
  const { mkdir, rename, rm } = await import('node:fs/promises');
  const { basename, dirname, join } = await import('node:path');
  const { randomUUID } = await import('node:crypto');
  const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}.tmp`);
  const data = typeof contents === 'string' ? new TextEncoder().encode(contents) : contents;
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFlushed(temporary, data instanceof Uint8Array ? [data] : data);
    await rename(temporary, path);
    await syncFolder(dirname(path));
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => {}); // the first error is the one to report
    const size = data instanceof Uint8Array ? ` (${data.byteLength} bytes)` : '';
    throw new Error(
      `writeFileAtomic: cannot write '${path}'${size}: ${(cause as Error).message}. Check the folder's permissions and the space left.`,
      { cause },
    );
  }
}

/**
 * Names of files that `writeFileAtomic` was writing when its process was killed: they may be removed once nothing
 * writes there.
 */
export const isTemporaryName = (name: string): boolean =>
  /^\..+\.[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}\.tmp$/.test(name);

async function writeFlushed(path: string, pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<void> {
  const { open } = await import('node:fs/promises');
  const file = await open(path, 'wx');
  try {
    for await (const piece of pieces) await writeAll(file, piece);
    await file.sync();
  } finally {
    await file.close();
  }
}

interface Writable {
  write(data: Uint8Array, offset: number, length: number): Promise<{ bytesWritten: number }>;
}

// One write call takes less than 2^31 bytes, and may write less than it was given.
const CHUNK = 2 ** 30;

async function writeAll(file: Writable, data: Uint8Array): Promise<void> {
  for (let at = 0; at < data.byteLength;) {
    const { bytesWritten } = await file.write(data, at, Math.min(CHUNK, data.byteLength - at));
    at += bytesWritten;
  }
}
