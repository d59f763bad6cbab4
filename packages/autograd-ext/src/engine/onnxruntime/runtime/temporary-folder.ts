import { takeProcessLock } from '../../../weights/files/process-lock.js';

/** A folder of this process for files that nobody needs after it. */
export interface TemporaryFolder {
  /** Absolute, without links. */
  readonly path: string;
  /** Deletes the folder. Can be called more than once. */
  remove(): Promise<void>;
}

const prefix = 'alignprop-weights-';

/**
 * Creates a folder in the system's folder for temporary files. It is deleted by `remove`, or when the process ends: at
 * its exit, after an uncaught exception, or by a signal that the program does not handle itself. Folders of processes
 * that were killed are deleted here.
 */
export async function createTemporaryFolder(): Promise<TemporaryFolder> {
  const [{ mkdtemp, realpath, rm }, { rmSync }, { tmpdir }, { join }] = await Promise.all([
    import('node:fs/promises'),
    import('node:fs'),
    import('node:os'),
    import('node:path'),
  ]);
  const parent = await realpath(tmpdir());
  await removeAbandoned(parent);
  const path = await mkdtemp(join(parent, prefix));
  const forget = atEnd(() => rmSync(path, { recursive: true, force: true }));
  await takeProcessLock(join(path, lockName));
  const remove = async () => {
    forget();
    await rm(path, { recursive: true, force: true });
  };
  return { path, remove };
}

const lockName = 'lock';

/** Age in milliseconds from which on a folder is abandoned: one without a lock, and one of another machine. */
const ages = { unlocked: 3_600_000, foreign: 30 * 24 * 3_600_000 } as const;

/** Deletes the folders of processes that are gone. Leaves those of other users, which it cannot read. */
async function removeAbandoned(parent: string): Promise<void> {
  const { readdir, rm } = await import('node:fs/promises');
  const { join } = await import('node:path');
  for (const name of await readdir(parent)) {
    if (!name.startsWith(prefix)) continue;
    const path = join(parent, name);
    try {
      if (await isAbandoned(path, join(path, lockName))) await rm(path, { recursive: true, force: true });
    } catch (error) {
      if (!['EACCES', 'EPERM', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    }
  }
}

async function isAbandoned(path: string, lock: string): Promise<boolean> {
  const { readdir, stat } = await import('node:fs/promises');
  const age = Date.now() - (await stat(path)).mtimeMs;
  if (!(await readdir(path)).includes(lockName)) return age > ages.unlocked;
  const taken = await takeProcessLock(lock);
  return 'lock' in taken || age > ages.foreign;
}

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const removals = new Set<() => void>();

/**
 * Calls `remove` when the process ends. While there is something to remove, the process has listeners for its end, of
 * this name.
 * @returns a function that cancels this
 */
function atEnd(remove: () => void): () => void {
  if (removals.size === 0) {
    process.on('exit', removeAll);
    for (const signal of signals) process.on(signal, removeTemporaryFolders);
  }
  removals.add(remove);
  return () => {
    removals.delete(remove);
    if (removals.size === 0) stopListening();
  };
}

function stopListening(): void {
  process.off('exit', removeAll);
  for (const signal of signals) process.off(signal, removeTemporaryFolders);
}

const removeAll = (): void => removals.forEach((remove) => remove());

/** Removes the folders and ends the process, as without a listener. A program that listens decides itself. */
function removeTemporaryFolders(signal: NodeJS.Signals): void {
  const isOurs = ({ name }: { readonly name: string }) => name === removeTemporaryFolders.name;
  if (!process.listeners(signal).every(isOurs)) return;
  removeAll();
  stopListening();
  if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
}
