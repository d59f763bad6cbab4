import { joinPath, type FileSource, type RandomAccessFile } from './file-source.js';

// One read call takes less than 2^31 bytes.
const CHUNK = 2 ** 30;

/** The files of a folder on this machine. Whether it exists shows when it is read. */
export function directory(path: string): FileSource {
  const resolve = async (file: string) => (await import('node:path')).resolve(path, joinPath(file));
  return {
    location: path,
    has: async (file) => {
      const { stat } = await import('node:fs/promises');
      return stat(await resolve(file)).then(
        (entry) => entry.isFile(),
        () => false,
      );
    },
    list: async (folder = '') => {
      const { readdir, stat } = await import('node:fs/promises');
      const names = await readdir(await resolve(folder)).catch(() => []);
      const isFile = async (name: string) =>
        (await stat(await resolve(`${folder}/${name}`)).catch(() => undefined))?.isFile();
      const kept = await Promise.all(names.map(isFile));
      return names.filter((_, i) => kept[i]).sort();
    },
    open: async (file) => openLocalFile(await resolve(file)),
  };
}

/** @throws if the file is missing, unreadable or a folder */
export async function openLocalFile(path: string): Promise<RandomAccessFile> {
  const { open } = await import('node:fs/promises');
  const handle = await open(path, 'r').catch((cause: unknown) => {
    const { code, message } = cause as NodeJS.ErrnoException;
    const what = code === 'ENOENT' ? 'there is no such file' : message;
    throw new Error(`directory: cannot open '${path}': ${what}. Check the path.`, { cause });
  });
  const { size } = await handle.stat();
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
        const { bytesRead } = await handle.read(bytes, at, Math.min(CHUNK, length - at), offset + at);
        if (bytesRead === 0)
          throw new Error(`directory: '${path}' became shorter while it was read. Wait until it is complete.`);
        at += bytesRead;
      }
      return bytes;
    },
  };
}
