import { parseJson } from '../../outside/json.js';
import { syncFolder } from './sync-folder.js';

/** A lock of this process. */
export interface ProcessLock {
  /** Can be called more than once. */
  release(): Promise<void>;
}

/** The process that took a lock. */
export interface LockOwner {
  readonly pid: number;
  readonly host: string;
  /** When the lock was taken, ISO 8601. */
  readonly since: string;
  /**
   * On Linux, the id of the machine's boot and the start of the process in ticks since then: they tell apart processes
   * that have the same number.
   */
  readonly boot?: string;
  readonly began?: string;
}

/**
 * Takes the folder `path` as a lock, which one process at a time can hold. It contains one file, with a unique name,
 * that describes its owner. The folder is filled under a temporary name and then renamed, which fails if `path` exists
 * and is not empty. The file of a process that is gone is deleted by its unique name, so that this cannot delete the
 * lock of another process that was faster. Two processes never hold the lock at once, and a process that is killed at
 * any moment leaves a lock that others can take over.
 * @param onStale called before the lock of a process that is gone is taken over
 * @returns the lock, or the owner that may still run: a process of this machine, or any of another machine
 * @throws if the folder cannot be written, or contains a file that is no lock
 */
export async function takeProcessLock(
  path: string,
  onStale: (owner: LockOwner) => void = () => {},
): Promise<{ readonly lock: ProcessLock } | { readonly owner: LockOwner }> {
  const { mkdir, rename, rm, rmdir, writeFile } = await import('node:fs/promises');
  const { basename, dirname, join } = await import('node:path');
  const { randomUUID } = await import('node:crypto');
  const [id, content] = [randomUUID(), JSON.stringify(await thisProcess())];
  const temporary = join(dirname(path), `.${basename(path)}.${id}.tmp`);
  for (let attempt = 1; ; attempt++) {
    try {
      await mkdir(temporary);
      await writeFile(join(temporary, `${id}.json`), content, { flush: true });
      await rename(temporary, path);
      break;
    } catch (error) {
      await rm(temporary, { recursive: true, force: true });
      if (attempt === 10 || !isTaken(error)) throw error;
    }
    const owner = await removeStale(path, onStale);
    if (owner) return { owner };
  }
  await syncFolder(dirname(path));
  const release = async (): Promise<void> => {
    await rm(join(path, `${id}.json`), { force: true });
    await rmdir(path).catch(() => {}); // deleted, or taken by another process in the meantime
  };
  return { lock: { release } };
}

/** Describes this process as the owner of a lock that is taken now. */
export async function thisProcess(): Promise<LockOwner> {
  const { hostname } = await import('node:os');
  return {
    pid: process.pid,
    host: hostname(),
    since: new Date().toISOString(),
    boot: (await systemFile('/proc/sys/kernel/random/boot_id'))?.trim(),
    began: await processStart(process.pid),
  };
}

/** Whether another process has the lock. ENOENT: a process that has just started deleted our temporary folder. */
const isTaken = (error: unknown): boolean =>
  ['ENOTEMPTY', 'EEXIST', 'EPERM', 'EACCES', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '');

/** Deletes the lock of a process that is gone. Returns its owner if that may still run. */
async function removeStale(path: string, onStale: (owner: LockOwner) => void): Promise<LockOwner | undefined> {
  const { readdir, rm, rmdir } = await import('node:fs/promises');
  const { join } = await import('node:path');
  for (const name of await readdir(path).catch(() => [])) {
    const owner = await readOwner(path, join(path, name));
    if (!owner) continue;
    if (await mayRun(owner)) return owner;
    onStale(owner);
    await rm(join(path, name), { force: true });
  }
  await rmdir(path).catch(() => {}); // some systems cannot rename onto an empty folder
  return undefined;
}

/** The owner of a lock; undefined if the lock was released in the meantime. */
async function readOwner(path: string, file: string): Promise<LockOwner | undefined> {
  const { readFile } = await import('node:fs/promises');
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  const owner = parseOwner(text);
  if (owner) return owner;
  throw new Error(
    `takeProcessLock: ${file} got what is no lock, expected process and host. ` +
      `If no program uses this folder, remove ${path}.`,
  );
}

function parseOwner(text: string): LockOwner | undefined {
  try {
    const owner = parseJson(text) as LockOwner | null;
    const isOwner = Number.isInteger(owner?.pid) && typeof owner?.host === 'string' && typeof owner.since === 'string';
    return isOwner ? owner : undefined;
  } catch {
    return undefined;
  }
}

/** Whether the owner of a lock may still run. False only for a process of this machine that is gone. */
async function mayRun(owner: LockOwner): Promise<boolean> {
  const here = await thisProcess();
  if (owner.host !== here.host) return true;
  if (owner.boot !== here.boot || !isRunning(owner.pid)) return false;
  return owner.began === undefined || owner.began === (await processStart(owner.pid));
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0); // signal 0: only checks that the process exists
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'; // the process is another user's
  }
}

/**
 * The start of a process, in ticks since the machine's boot. Undefined for processes that do not exist, for zombies,
 * and where /proc is missing.
 */
async function processStart(pid: number): Promise<string | undefined> {
  const stat = await systemFile(`/proc/${pid}/stat`);
  // From field 3 on: field 2, the name, may contain spaces.
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields && !['Z', 'X'].includes(fields[0]!) ? fields[19] : undefined;
}

async function systemFile(path: string): Promise<string | undefined> {
  const { readFile } = await import('node:fs/promises');
  return readFile(path, 'utf8').catch(() => undefined);
}
