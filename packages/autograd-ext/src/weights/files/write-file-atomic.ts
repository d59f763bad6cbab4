import { describeSpace } from './free-space.js';
import { MAX_TRANSFER } from './local-file.js';
import { syncFile } from './sync-file.js';
import { syncFolder } from './sync-folder.js';

/** The contents of a file: one piece, or several that are written one after another. */
export type FileContents = string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/**
 * Writes a file atomically: even if the process is killed or the power fails, the file is complete or not there. Writes
 * to a temporary name in the same folder, flushes it to the disk and renames it. Creates missing folders. On failure,
 * removes the temporary file and leaves an older file as it was.
 * @param size the bytes of `contents`, for the words of errors where it is not one piece
 * @throws if the folder or the file cannot be written, or if iterating over `contents` throws
 */
export async function writeFileAtomic(path: string, contents: FileContents, size?: number): Promise<void> {
  const { mkdir, rename, rm } = await import('node:fs/promises');
  const { basename, dirname, join } = await import('node:path');
  const { randomUUID } = await import('node:crypto');
  const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}.tmp`);
  const data = typeof contents === 'string' ? new TextEncoder().encode(contents) : contents;
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeAndFlush(temporary, data instanceof Uint8Array ? [data] : data);
    await rename(temporary, path);
    await syncFolder(dirname(path));
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => {}); // the first error is the one to report
    const bytes = data instanceof Uint8Array ? data.byteLength : size;
    const space = bytes === undefined ? '' : ` (${await describeSpace(bytes, dirname(path))})`;
    throw new Error(
      `writeFileAtomic: cannot write '${path}'${space}: ${(cause as Error).message}. ` +
        "Check the folder's permissions and the space left.",
      { cause },
    );
  }
}

/**
 * Whether a name is that of a temporary file of `writeFileAtomic`. A killed process leaves such files behind; remove
 * them only while no process writes to the folder.
 */
export const isTemporaryName = (name: string): boolean =>
  /^\..+\.[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}\.tmp$/.test(name);

async function writeAndFlush(path: string, pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<void> {
  const { open } = await import('node:fs/promises');
  const file = await open(path, 'wx');
  try {
    for await (const piece of pieces) await writeAll(file, piece);
    await syncFile(file);
  } finally {
    await file.close();
  }
}

interface Writable {
  write(data: Uint8Array, offset: number, length: number): Promise<{ bytesWritten: number }>;
}

/** Writes all of `data`: one call to `write` may write less than it is given. */
async function writeAll(file: Writable, data: Uint8Array): Promise<void> {
  for (let at = 0; at < data.byteLength;) {
    const { bytesWritten } = await file.write(data, at, Math.min(MAX_TRANSFER, data.byteLength - at));
    at += bytesWritten;
  }
}
