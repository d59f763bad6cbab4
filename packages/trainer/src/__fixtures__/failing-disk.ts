import files, { type FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';

/**
 * Called before an operation on files. The operation is done when it returns, fails when it throws, and
 * never happens while it does not resolve. `tear` does half of the operation.
 */
export type Fate = (operation: string, path: string, tear: () => Promise<unknown>) => void | Promise<void>;

type Operation = (...args: any[]) => Promise<any>;

const half = (data: string | Uint8Array) =>
  typeof data === 'string' ? data.slice(0, data.length / 2) : data.subarray(0, data.length / 2);

/** Operations of node:fs/promises that read. */
const reads = ['lstat', 'readdir', 'readFile', 'stat'];

/**
 * Calls `fate` before each operation of this process, through node:fs/promises, that changes files below a folder or
 * beside it under its name and a suffix.
 * @param options `withReads`: also before each operation that reads them
 * @returns a function that ends the interception
 */
export function interceptDisk(folder: string, fate: Fate, { withReads = false } = {}): () => Promise<void> {
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
  if (withReads) for (const name of ['cp', ...reads]) intercept(name);
  const opened = new Set<FileHandle>();
  (files as any).open = async (path: string, flags = 'r', ...rest: unknown[]) => {
    const isRead = flags === 'r';
    if (isOurs(path) && (withReads || !isRead)) await fate('open', path, () => Promise.resolve());
    const handle = (await originals.open!(path, flags, ...rest)) as FileHandle;
    opened.add(handle);
    if (isOurs(path) && withReads) interceptReads(handle, path, fate);
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

/** Calls `fate` before a handle is read. */
function interceptReads(handle: FileHandle, path: string, fate: Fate): void {
  for (const name of ['read', 'stat'] as const) {
    const original = handle[name].bind(handle) as Operation;
    const intercepted: Operation = async (...args: unknown[]) => {
      await fate(name, path, () => Promise.resolve());
      return original(...args);
    };
    Object.assign(handle, { [name]: intercepted });
  }
}

/** Errors of file systems: a bad sector, a missing permission, a stale network handle, a full disk, too many files. */
export const faultCodes = ['EIO', 'EACCES', 'ESTALE', 'ENOSPC', 'EMFILE'] as const;

/** The errors that EVERY_FAULT names for a complete test: one by its code, all by 1; none where it is not set. */
export const requestedFaults = faultCodes.filter((code) => ['1', code].includes(process.env.EVERY_FAULT ?? ''));

/**
 * Simulates one fault: the n-th operation (from 1), reads included, fails with a code; a write is done by half.
 * @returns `operation`, the one that failed, and `end`, which lets the disk work again
 */
export function faultyDisk(folder: string, n: number, code: string) {
  let count = 0;
  const fault: { operation?: string; end: () => Promise<void> } = {
    end: interceptDisk(
      folder,
      async (operation, path, tear) => {
        if (++count !== n) return;
        fault.operation = describe(operation, folder, path);
        await tear();
        throw Object.assign(new Error(`${code}: simulated, ${operation} '${path}'`), { code, syscall: operation });
      },
      { withReads: true },
    ),
  };
  return fault;
}

/** Lists the operations on a folder, reads included, that work needs: `read checkpoints/checkpoint_1/state.json`. */
export async function listOperations(folder: string, work: () => Promise<unknown>): Promise<readonly string[]> {
  const operations: string[] = [];
  const record = (operation: string, path: string) => void operations.push(describe(operation, folder, path));
  await work().finally(interceptDisk(folder, record, { withReads: true }));
  return operations;
}

/** Names an operation, without the random parts of temporary names. */
const describe = (operation: string, folder: string, path: string): string =>
  `${operation} ${path.slice(folder.length + 1).replace(/[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}/g, '*')}`;

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
