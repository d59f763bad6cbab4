import { z } from 'zod';
import { syncFolder } from '@alignprop/autograd-ext/weights';
import type { Logger } from '../logger.js';

/** The lock of a run on its folder. */
export interface RunLock {
  /** Can be called more than once. */
  release(): Promise<void>;
}

const ownerSchema = z.object({
  pid: z.int(),
  host: z.string(),
  /** When the lock was taken, ISO 8601. */
  since: z.string(),
  /**
   * On Linux, the id of the machine's boot and the start of the process in ticks since then: they tell apart processes
   * that have the same number.
   */
  boot: z.string().optional(),
  began: z.string().optional(),
});

type Owner = z.output<typeof ownerSchema>;

/**
 * Takes the folder `<path>/run.lock`, which one process at a time can hold. It contains one file, with a unique name,
 * that describes its owner. The folder is filled under a temporary name and then renamed, which fails if `run.lock`
 * exists and is not empty. The file of a process that is gone is deleted by its unique name, so that this cannot delete
 * the lock of another process that was faster. Two processes never hold the lock at once, and a process that is killed
 * at any moment leaves a lock that others can take over.
 * @throws if another run holds it, or a run on another machine, which may have ended
 */
export async function takeRunLock(path: string, logger: Logger): Promise<RunLock> {
  const { mkdir, rename, rm, rmdir, writeFile } = await import('node:fs/promises');
  const { randomUUID } = await import('node:crypto');
  const [lock, id, owner] = [`${path}/run.lock`, randomUUID(), JSON.stringify(await thisProcess())];
  const temporary = `${path}/.run.lock.${id}.tmp`;
  for (let attempt = 1; ; attempt++) {
    try {
      await mkdir(temporary);
      await writeFile(`${temporary}/${id}.json`, owner, { flush: true });
      await rename(temporary, lock);
      break;
    } catch (error) {
      await rm(temporary, { recursive: true, force: true });
      if (attempt === 10 || !isTaken(error)) throw error;
    }
    await removeStale(lock, logger);
  }
  await syncFolder(path);
  return {
    async release() {
      await rm(`${lock}/${id}.json`, { force: true });
      await rmdir(lock).catch(() => {}); // deleted, or taken by another process in the meantime
    },
  };
}

/** Whether another process has the lock. ENOENT: a run that has just started deleted our temporary folder. */
const isTaken = (error: unknown): boolean =>
  ['ENOTEMPTY', 'EEXIST', 'EPERM', 'EACCES', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '');

/** Deletes the lock of a process that is gone. @throws if the process may still run */
async function removeStale(lock: string, logger: Logger): Promise<void> {
  const { readdir, rm, rmdir } = await import('node:fs/promises');
  for (const name of await readdir(lock).catch(() => [])) {
    const owner = await readOwner(lock, name);
    if (!owner) continue;
    await checkGone(owner, lock);
    logger.info(`Taking over ${lock} of process ${owner.pid}, which held it since ${owner.since} and is gone.`);
    await rm(`${lock}/${name}`, { force: true });
  }
  await rmdir(lock).catch(() => {}); // some systems cannot rename onto an empty folder
}

/** The owner of a lock; undefined if the lock was released in the meantime. */
async function readOwner(lock: string, name: string): Promise<Owner | undefined> {
  const { readFile } = await import('node:fs/promises');
  try {
    return ownerSchema.parse(JSON.parse(await readFile(`${lock}/${name}`, 'utf8')));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new Error(
      `output_dir: ${lock}/${name} got what is no lock, expected process and host: ${(cause as Error).message}. ` +
        `If no run uses this folder, remove ${lock}.`,
      { cause },
    );
  }
}

/** @throws if the owner of a lock may still run */
async function checkGone(owner: Owner, lock: string): Promise<void> {
  const here = await thisProcess();
  const holder = `output_dir: ${lock} is held by process ${owner.pid} on '${owner.host}' since ${owner.since}`;
  if (owner.host !== here.host)
    throw new Error(
      `${holder}, another machine than this ('${here.host}'). If no run uses this folder any more, remove ${lock}; ` +
        'else choose another output_dir.',
    );
  if (owner.boot !== here.boot || !isRunning(owner.pid)) return;
  const began = await processStart(owner.pid);
  if (owner.began !== undefined && owner.began !== began) return;
  const other = owner.began === undefined ? ` If that is another program by now, remove ${lock}.` : '';
  throw new Error(
    `${holder}${owner.pid === here.pid ? ', which is this one' : ''}: another run trains there. ` +
      `Wait for it, end it, or choose another output_dir.${other}`,
  );
}

async function thisProcess(): Promise<Owner> {
  const { hostname } = await import('node:os');
  return {
    pid: process.pid,
    host: hostname(),
    since: new Date().toISOString(),
    boot: (await systemFile('/proc/sys/kernel/random/boot_id'))?.trim(),
    began: await processStart(process.pid),
  };
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
