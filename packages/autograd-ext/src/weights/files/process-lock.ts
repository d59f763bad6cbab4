import { parseJson } from '../../outside/json.js';
import { BEAT, canBeat, startBeating, stopBeating } from './heartbeat.js';
import { processState, thisProcess, type ProcessIdentity, type ProcessState } from './process-identity.js';
import { syncFolder } from './sync-folder.js';

/** Seconds without a heartbeat after which a process that cannot be seen counts as gone: 24 beats. */
export const SILENCE = 120;

/** Seconds for which such a lock is watched before it is taken over: the clock of the file server may have jumped. */
const WATCH = 12;

/** A lock of this process. */
export interface ProcessLock {
  /** Whether the previous owner was silent, not known to be gone: it may wake up and write to its files again. */
  readonly previousMayWake: boolean;
  /** False once another process has taken the lock over, since this one was stopped for longer than `SILENCE`. */
  isHeld(): Promise<boolean>;
  /** Can be called more than once. */
  release(): Promise<void>;
}

/** The process that took a lock. */
export interface LockOwner extends ProcessIdentity {
  /** When the lock was taken, ISO 8601. */
  readonly since: string;
  /** Seconds between its heartbeats; absent if it cannot have any. */
  readonly beat?: number;
  /** See `ProcessLock`. */
  readonly previousMayWake?: boolean;
}

/** The owner of a lock that stays its own. */
export interface LockHolder {
  readonly owner: LockOwner;
  readonly state: Exclude<ProcessState, 'gone'>;
  /** Seconds since its last heartbeat, by the clock of the file system; undefined if it has none. */
  readonly silence: number | undefined;
}

/** Options of `takeProcessLock`. */
export interface LockOptions {
  /** Called before the lock of a process that is gone, or silent for that many seconds, is taken over. */
  readonly onStale?: (owner: LockOwner, silence: number | undefined) => void;
  /** Stops watching a silent owner; the reason is thrown. */
  readonly signal?: AbortSignal;
}

/**
 * Takes the folder `path` as a lock, which one process at a time can hold. It contains one file, with a unique name,
 * that describes its owner, and whose time of modification is the owner's last heartbeat. The folder is filled under a
 * temporary name and then renamed, which fails if `path` exists and is not empty. The file of a process that is gone is
 * deleted by its unique name, so that this cannot delete the lock of another process that was faster. A process that is
 * killed at any moment leaves a lock that others can take over: at once where its number can be checked, which is on
 * the same machine and in the same container; elsewhere after `SILENCE` seconds without a heartbeat. No `flock`: file
 * servers differ in it, and Node has none.
 * @returns the lock, or its holder, which may still run
 * @throws if the folder cannot be read or written, or contains a file that is no lock
 */
export async function takeProcessLock(
  path: string,
  { onStale = () => {}, signal }: LockOptions = {},
): Promise<{ readonly lock: ProcessLock } | { readonly holder: LockHolder }> {
  const { mkdir, rename, rm, stat, writeFile } = await import('node:fs/promises');
  const { basename, dirname, join } = await import('node:path');
  const { randomUUID } = await import('node:crypto');
  const id = randomUUID();
  const temporary = join(dirname(path), `.${basename(path)}.${id}.tmp`);
  const owner: LockOwner = {
    ...(await thisProcess()),
    since: new Date().toISOString(),
    ...((await canBeat()) && { beat: BEAT }),
  };
  let previousMayWake = false;
  for (let attempt = 1; ; attempt++) {
    let now = Number.NaN;
    try {
      await mkdir(temporary);
      await writeFile(join(temporary, `${id}.json`), JSON.stringify({ ...owner, previousMayWake }), { flush: true });
      now = (await stat(join(temporary, `${id}.json`))).mtimeMs;
      await rename(temporary, path);
      break;
    } catch (error) {
      await rm(temporary, { recursive: true, force: true });
      if (attempt === 10 || !isTaken(error)) throw error;
    }
    const found = await removeStale(path, now, { onStale, signal });
    if (typeof found === 'object') return { holder: found };
    previousMayWake ||= found === 'silent';
  }
  await syncFolder(dirname(path));
  const file = join(path, `${id}.json`);
  if (owner.beat) await startBeating(file);
  return { lock: { previousMayWake, isHeld: () => isThere(file), release: () => release(file) } };
}

async function release(file: string): Promise<void> {
  const { rm } = await import('node:fs/promises');
  const { dirname } = await import('node:path');
  await stopBeating(file);
  await rm(file, { force: true });
  await removeFolder(dirname(file));
}

/** Removes a lock's folder, unless another process has removed or taken it in the meantime. */
async function removeFolder(path: string): Promise<void> {
  const { rmdir } = await import('node:fs/promises');
  await rmdir(path).catch((error: unknown) => {
    if (!isTaken(error)) throw error;
  });
}

/** Whether another process has the lock. ENOENT: a process that has just started deleted our temporary folder. */
const isTaken = (error: unknown): boolean =>
  ['ENOTEMPTY', 'EEXIST', 'EPERM', 'EACCES', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '');

/**
 * Deletes the lock of a process that is gone.
 * @param now the time on the file system's clock; NaN if that could not be read
 * @returns the holder if it may still run; else whether it and those before it are known to be gone, or only silent
 */
async function removeStale(
  path: string,
  now: number,
  { onStale, signal }: Required<Pick<LockOptions, 'onStale'>> & LockOptions,
): Promise<LockHolder | 'gone' | 'silent'> {
  const { readdir, rm } = await import('node:fs/promises');
  const { join } = await import('node:path');
  let outcome: 'gone' | 'silent' = 'gone';
  for (const name of await orIfAbsent(readdir(path), [])) {
    const file = join(path, name);
    const entry = await readOwner(path, file);
    if (!entry) continue;
    const { owner, beaten } = entry;
    const silence = owner.beat && !Number.isNaN(now) ? Math.max(0, (now - beaten) / 1000) : undefined;
    const state = await processState(owner);
    if (state !== 'gone') {
      const isSilent = state === 'unseen' && silence !== undefined && silence > SILENCE;
      if (!isSilent || (await hasBeaten(path, file, beaten, signal))) return { owner, state, silence };
    }
    if (state !== 'gone' || owner.previousMayWake) outcome = 'silent';
    onStale(owner, state === 'gone' ? undefined : silence);
    await rm(file, { force: true });
  }
  await removeFolder(path); // some systems cannot rename onto an empty folder
  return outcome;
}

/** Watches a lock for longer than two beats. @returns whether its owner gave a heartbeat, or released it */
async function hasBeaten(path: string, file: string, before: number, signal?: AbortSignal): Promise<boolean> {
  const { setTimeout } = await import('node:timers/promises');
  for (let second = 0; second < WATCH; second++) {
    await setTimeout(1000, undefined, { signal });
    if ((await readOwner(path, file))?.beaten !== before) return true;
  }
  return false;
}

/**
 * The owner of a lock, and the time of its last heartbeat in milliseconds on the file system's clock. Undefined if the
 * lock was released in the meantime. Opens the file for both, so that a network file system asks its server.
 */
async function readOwner(path: string, file: string): Promise<{ owner: LockOwner; beaten: number } | undefined> {
  const { open } = await import('node:fs/promises');
  const handle = await orIfAbsent(open(file), undefined);
  if (!handle) return undefined;
  try {
    const owner = parseOwner(await handle.readFile('utf8'));
    if (owner) return { owner, beaten: (await handle.stat()).mtimeMs };
  } finally {
    await handle.close();
  }
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

async function isThere(file: string): Promise<boolean> {
  const { stat } = await import('node:fs/promises');
  return (await orIfAbsent(stat(file), undefined)) !== undefined;
}

/** The result of an access to a file, or `absent` if there is none of that name. @throws any other error */
async function orIfAbsent<T, A>(access: Promise<T>, absent: A): Promise<T | A> {
  try {
    return await access;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return absent;
    throw error;
  }
}
