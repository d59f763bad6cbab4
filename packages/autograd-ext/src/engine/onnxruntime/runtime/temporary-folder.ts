import { parseJson } from '../../../outside/json.js';
import { processState, thisProcess, type ProcessIdentity } from '../../../weights/files/process-identity.js';

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
  const [{ mkdtemp, realpath, rm, writeFile }, { rmSync }, { tmpdir }, { join }] = await Promise.all([
    import('node:fs/promises'),
    import('node:fs'),
    import('node:os'),
    import('node:path'),
  ]);
  const parent = await realpath(tmpdir());
  await removeAbandoned(parent);
  const path = await mkdtemp(join(parent, prefix));
  const forget = atEnd(() => rmSync(path, { recursive: true, force: true }));
  await writeFile(join(path, ownerName), JSON.stringify(await thisProcess()));
  const remove = async () => {
    forget();
    await rm(path, { recursive: true, force: true, maxRetries: 3 });
  };
  return { path, remove };
}

/** The file in a folder that tells its process. */
const ownerName = 'owner.json';

/**
 * Age in milliseconds from which on a folder is abandoned: one whose owner is not written yet, and one of a machine or
 * a container that cannot be seen from here.
 */
const ages = { unowned: 3_600_000, unseen: 30 * 24 * 3_600_000 } as const;

/** Deletes the folders of processes that are gone. Leaves those of other users, which it cannot read. */
async function removeAbandoned(parent: string): Promise<void> {
  const { readdir, rm } = await import('node:fs/promises');
  const { join } = await import('node:path');
  for (const name of await readdir(parent)) {
    if (!name.startsWith(prefix)) continue;
    const path = join(parent, name);
    try {
      if (await isAbandoned(path, join(path, ownerName)))
        await rm(path, { recursive: true, force: true, maxRetries: 3 });
    } catch (error) {
      if (!['EACCES', 'EPERM', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    }
  }
}

/** Whether the process of a folder is gone. Reads only. */
async function isAbandoned(path: string, ownerFile: string): Promise<boolean> {
  const { readFile, stat } = await import('node:fs/promises');
  const age = Date.now() - (await stat(path)).mtimeMs;
  const text = await readFile(ownerFile, 'utf8').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  });
  const owner = parseOwner(text);
  if (!owner) return age > ages.unowned;
  const state = await processState(owner);
  return state === 'gone' || (state === 'unseen' && age > ages.unseen);
}

/** The owner; undefined if the file is not complete yet, or was cut off by a full disk. */
function parseOwner(text: string): ProcessIdentity | undefined {
  try {
    return parseJson(text) as ProcessIdentity;
  } catch {
    return undefined;
  }
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
    // First, to see also the listeners that remove themselves when they are called.
    for (const signal of signals) process.prependListener(signal, removeTemporaryFolders);
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
