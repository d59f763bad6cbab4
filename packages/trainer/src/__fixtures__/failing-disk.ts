import files, { type FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';

/**
 * Called before an operation that changes the disk. The operation is done when it returns, fails when it throws, and
 * never happens while it does not resolve. `tear` does half of the operation.
 */
export type Fate = (operation: string, path: string, tear: () => Promise<unknown>) => void | Promise<void>;

type Operation = (...args: any[]) => Promise<any>;

const half = (data: string | Uint8Array) =>
  typeof data === 'string' ? data.slice(0, data.length / 2) : data.subarray(0, data.length / 2);

/**
 * Calls `fate` before each operation of this process, through node:fs/promises, that changes files below a folder.
 * @returns a function that ends the interception
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
    for (const handle of opened) await handle.close(); // those of operations that never ended are still open
  };
}

/** Calls `fate` at the first write of a handle: files are written in several pieces. */
function interceptHandle(handle: FileHandle, path: string, fate: Fate): FileHandle {
  const [write, sync] = [handle.write.bind(handle) as Operation, handle.sync.bind(handle)];
  let isWritten = false;
  const interceptedWrite: Operation = async (data: Uint8Array, offset: number, length: number) => {
    if (!isWritten) await fate('write', path, () => write(data, offset, Math.floor(length / 2)));
    isWritten = true;
    return write(data, offset, length);
  };
  return Object.assign(handle, {
    write: interceptedWrite,
    sync: async () => {
      await fate('sync', path, () => Promise.resolve());
      return sync();
    },
  });
}

/**
 * Simulates a crash: the n-th operation (from 1) is done by half, later ones never.
 * @returns `crashed`, which resolves at that moment, and `end`, which lets the disk work again
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

/** Simulates a full disk: from the n-th operation on (from 1), writes fail with ENOSPC. @returns what ends that */
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
