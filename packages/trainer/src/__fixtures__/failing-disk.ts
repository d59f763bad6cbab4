import files, { type FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';

/**
 * Decides what becomes of an operation that changes the disk: returns for it to be done, throws for it to fail, never
 * returns for it never to happen. `tear` does half of it.
 */
export type Fate = (operation: string, path: string, tear: () => Promise<unknown>) => void | Promise<void>;

type Operation = (...args: any[]) => Promise<any>;

const half = (data: string | Uint8Array) =>
  typeof data === 'string' ? data.slice(0, data.length / 2) : data.subarray(0, data.length / 2);

/**
 * Asks `fate` before everything that this process does to files below a folder through node:fs/promises. @returns what
 * ends that
 */
export function interceptDisk(folder: string, fate: Fate): () => Promise<void> {
  const originals = { ...files } as unknown as Record<string, Operation>;
  const isOurs = (path: unknown): path is string => typeof path === 'string' && path.startsWith(folder);
  const intercept = (name: string, tear: (...args: any[]) => Promise<unknown> = () => Promise.resolve()) => {
    (files as any)[name] = async (...args: any[]) => {
      if (isOurs(args[0])) await fate(name, args[0], () => tear(...args));
      return originals[name]!(...args);
    };
  };
  const tornWrite = (name: string) => (path: string, data: string | Uint8Array) => originals[name]!(path, half(data));
  for (const name of ['mkdir', 'rename', 'rmdir']) intercept(name);
  for (const name of ['appendFile', 'writeFile']) intercept(name, tornWrite(name));
  intercept('rm', tearFolder);
  const opened = new Set<FileHandle>();
  (files as any).open = async (path: string, flags = 'r', ...rest: unknown[]) => {
    if (isOurs(path) && flags !== 'r') await fate('open', path, () => Promise.resolve());
    const handle = (await originals.open!(path, flags, ...rest)) as FileHandle;
    opened.add(handle);
    return isOurs(path) ? interceptHandle(handle, path, fate) : handle;
  };
  syncBuiltinESMExports();

  async function tearFolder(path: string): Promise<void> {
    const [first] = (await originals.readdir!(path).catch(() => [])) as string[];
    if (first) await originals.rm!(join(path, first), { recursive: true });
  }

  return async () => {
    Object.assign(files, originals);
    syncBuiltinESMExports();
    for (const handle of opened) await handle.close(); // of operations that never ended; else it is closed already
  };
}

/** A file is asked for once, at the first of the pieces that it is written in. */
function interceptHandle(handle: FileHandle, path: string, fate: Fate): FileHandle {
  const [write, sync] = [handle.write.bind(handle) as Operation, handle.sync.bind(handle)];
  let isWritten = false;
  const written: Operation = async (data: Uint8Array, offset: number, length: number) => {
    if (!isWritten) await fate('write', path, () => write(data, offset, Math.floor(length / 2)));
    isWritten = true;
    return write(data, offset, length);
  };
  return Object.assign(handle, {
    write: written,
    sync: async () => {
      await fate('sync', path, () => Promise.resolve());
      return sync();
    },
  });
}

/**
 * The n-th operation (from 1) is half done, and nothing after it. @returns a promise of that moment; `end` lets the
 * disk work again
 */
export function crashingDisk(folder: string, n: number): { crashed: Promise<void>; end: () => Promise<void> } {
  let [count, crash] = [0, () => {}];
  const crashed = new Promise<void>((resolve) => void (crash = resolve));
  const end = interceptDisk(folder, async (_operation, _path, tear) => {
    if (++count < n) return;
    if (count === n) await tear();
    crash();
    await new Promise(() => {});
  });
  return { crashed, end };
}

/** From the n-th operation on (from 1) there is no room for data. */
export function fullDisk(folder: string, n: number): () => Promise<void> {
  let count = 0;
  return interceptDisk(folder, async (operation, path, tear) => {
    if (++count < n || ['rm', 'rmdir', 'rename', 'sync'].includes(operation)) return;
    await tear();
    throw Object.assign(new Error(`ENOSPC: no space left on device, ${operation} '${path}'`), {
      code: 'ENOSPC',
      syscall: operation,
    });
  });
}
