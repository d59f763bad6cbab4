import { z } from 'zod';
import { syncFolder } from '@alignprop/autograd-ext/weights';
import type { Logger } from '../logger.js';

/** A run's claim to its folder. */
export interface RunLock {
  /** May be called again. */
  release(): Promise<void>;
}

const ownerSchema = z.object({
  pid: z.int(),
  host: z.string(),
  /** When the lock was taken, ISO 8601. */
  since: z.string(),
  /**
   * Linux: the boot that the machine was in, and when in it the process began, in ticks: another process may get the
   * same number.
   */
  boot: z.string().optional(),
  began: z.string().optional(),
});

type Owner = z.output<typeof ownerSchema>;

/**
 * Takes the folder `<path>/run.lock`, which one process at a time can hold. It has one file, of a name that no other
 * has, that says who holds it. It is filled first and then renamed, which fails where one with a file in it is; a file
 * of a process that is gone is removed by its own name, which cannot hit the lock of another that was quicker. So there
 * is no moment at which two can hold it, or at which being killed leaves it unusable.
 * @throws if another run holds it, or one on another machine does not say that it ended
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
      await rmdir(lock).catch(() => {}); // gone, or another's by now
    },
  };
}

/** The last is that of a run which has just begun, and removed what it took for a leftover. */
const isTaken = (error: unknown): boolean =>
  ['ENOTEMPTY', 'EEXIST', 'EPERM', 'EACCES', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '');

/** Removes the lock of a process that is gone. @throws if the process may still run */
async function removeStale(lock: string, logger: Logger): Promise<void> {
  const { readdir, rm, rmdir } = await import('node:fs/promises');
  for (const name of await readdir(lock).catch(() => [])) {
    const owner = await readOwner(lock, name);
    if (!owner) continue;
    await checkGone(owner, lock);
    logger.info(`Taking over ${lock} of process ${owner.pid}, which held it since ${owner.since} and is gone.`);
    await rm(`${lock}/${name}`, { force: true });
  }
  await rmdir(lock).catch(() => {}); // not every system renames onto an empty folder
}

/** Undefined where it was released in the meantime. */
async function readOwner(lock: string, name: string): Promise<Owner | undefined> {
  const { readFile } = await import('node:fs/promises');
  try {
    return ownerSchema.parse(JSON.parse(await readFile(`${lock}/${name}`, 'utf8')));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new Error(
      `output_dir: ${lock}/${name} got what is no lock, expected process and host: ${(cause as Error).message}. If no run uses this folder, remove ${lock}.`,
      { cause },
    );
  }
}

async function checkGone(owner: Owner, lock: string): Promise<void> {
  const here = await thisProcess();
  const held = `output_dir: ${lock} is held by process ${owner.pid} on '${owner.host}' since ${owner.since}`;
  if (owner.host !== here.host)
    throw new Error(
      `${held}, another machine than this ('${here.host}'). If no run uses this folder any more, remove ${lock}; else choose another output_dir.`,
    );
  if (owner.boot !== here.boot || !isRunning(owner.pid)) return;
  const began = await processBegan(owner.pid);
  if (owner.began !== undefined && owner.began !== began) return;
  const other = owner.began === undefined ? ` If that is another program by now, remove ${lock}.` : '';
  throw new Error(
    `${held}${owner.pid === here.pid ? ', which is this one' : ''}: another run trains there. Wait for it, end it, or choose another output_dir.${other}`,
  );
}

async function thisProcess(): Promise<Owner> {
  const { hostname } = await import('node:os');
  return {
    pid: process.pid,
    host: hostname(),
    since: new Date().toISOString(),
    boot: (await systemFile('/proc/sys/kernel/random/boot_id'))?.trim(),
    began: await processBegan(process.pid),
  };
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0); // sends nothing
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'; // another user's
  }
}

/**
 * When a process began, in ticks since the machine did. Undefined where there is no /proc, or no such process; one that
 * ended, and whose parent has not asked how, is none.
 */
async function processBegan(pid: number): Promise<string | undefined> {
  const stat = await systemFile(`/proc/${pid}/stat`);
  // from field 3 on: field 2, the name, may have spaces
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields && !['Z', 'X'].includes(fields[0]!) ? fields[19] : undefined;
}

async function systemFile(path: string): Promise<string | undefined> {
  const { readFile } = await import('node:fs/promises');
  return readFile(path, 'utf8').catch(() => undefined);
}
