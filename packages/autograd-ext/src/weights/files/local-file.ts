import type { RandomAccessFile } from './file-source.js';
import { ifPresent } from '../../if-present.js';

/** The most bytes that one call reads or writes: Node's limit is below 2^31. */
export const MAX_TRANSFER = 2 ** 30;

/** Whether a path on this machine exists and is a file. @throws if it cannot be told, as without permission */
export async function isLocalFile(path: string): Promise<boolean> {
  const { stat } = await import('node:fs/promises');
  return (await ifPresent(stat(path)))?.isFile() ?? false;
}

/** Opens a file on this machine. @throws if it is missing, unreadable or a folder */
export async function openLocalFile(path: string): Promise<RandomAccessFile> {
  const { open } = await import('node:fs/promises');
  const handle = await open(path, 'r').catch((cause: unknown) => {
    const { code, message } = cause as NodeJS.ErrnoException;
    const problem = code === 'ENOENT' ? 'there is no such file' : message;
    throw new Error(`directory: cannot open '${path}': ${problem}. Check the path.`, { cause });
  });
  const { size } = await handle.stat().catch(async (error: unknown) => {
    await handle.close();
    throw error;
  });
  return {
    name: path,
    path,
    size,
    close: () => handle.close(),
    read: async (offset, length) => {
      if (offset + length > size)
        throw new RangeError(
          `directory: '${path}' got a read of bytes ${offset} to ${offset + length}, expected at most ${size}.`,
        );
      const bytes = new Uint8Array(length);
      for (let at = 0; at < length;) {
        const { bytesRead } = await handle.read(bytes, at, Math.min(MAX_TRANSFER, length - at), offset + at);
        if (bytesRead === 0)
          throw new Error(`directory: '${path}' became shorter while it was read. Wait until it is complete.`);
        at += bytesRead;
      }
      return bytes;
    },
  };
}
