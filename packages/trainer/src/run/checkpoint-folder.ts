import { ifPresent, syncFolder } from '@alignprop/autograd-ext/weights';

/** The suffixes of a checkpoint's folder while it is written or deleted. */
const unfinished = { partial: '.partial', deleted: '.deleted' } as const;

/** The folder in which a checkpoint is written before it gets its name. */
export const partialPath = (checkpoint: string): string => `${checkpoint}${unfinished.partial}`;

/** Whether a folder is a checkpoint that a killed process was writing or deleting. */
export const isUnfinished = (name: string): boolean =>
  new RegExp(`^checkpoint_\\d+(${unfinished.partial}|${unfinished.deleted})$`).test(name);

/** The step of a checkpoint by its path; undefined for any other path. */
export function stepOf(path: string): number | undefined {
  const step = /(?:^|[\\/])checkpoint_(\d+)[\\/]*$/.exec(path)?.[1];
  return step === undefined ? undefined : Number(step);
}

/**
 * The steps of the complete checkpoints in a folder, oldest first; none if there is no such folder.
 * @throws if the folder cannot be read, also a link to a disk that is not there
 */
export async function listCheckpoints(folder: string): Promise<readonly number[]> {
  return (await listFolder(folder)).flatMap((name) => stepOf(name) ?? []).sort((a, b) => a - b);
}

/** The names in a folder; none if there is no such folder. @throws as `listCheckpoints` */
export async function listFolder(path: string): Promise<readonly string[]> {
  const { lstat, readdir } = await import('node:fs/promises');
  const names = await ifPresent(readdir(path));
  if (names) return names;
  const entry = await ifPresent(lstat(path));
  if (!entry) return [];
  const kind = entry.isSymbolicLink() ? 'a link to what is not there' : 'no folder';
  throw new Error(`folder of a run: ${path} is ${kind}, expected a folder. Mount its disk, or move it away.`);
}

/** Deletes all but the newest checkpoints of a folder. */
export async function pruneCheckpoints(folder: string, limit: number): Promise<void> {
  await removeCheckpoints(folder, (await listCheckpoints(folder)).slice(0, -limit));
}

/** Deletes the checkpoints of these steps, each renamed first: half a checkpoint never has the name of a whole one. */
export async function removeCheckpoints(folder: string, steps: readonly number[]): Promise<void> {
  const { rename, rm } = await import('node:fs/promises');
  for (const step of steps) {
    const path = `${folder}/checkpoint_${step}`;
    const deleted = `${path}${unfinished.deleted}`;
    await rm(deleted, { recursive: true, force: true });
    await ifPresent(rename(path, deleted));
    await rm(deleted, { recursive: true, force: true });
  }
}

/** Renames a damaged checkpoint, so that it is kept and is none any more. @returns its new path */
export async function setAside(checkpoint: string): Promise<string> {
  const { lstat, rename } = await import('node:fs/promises');
  const { dirname } = await import('node:path');
  for (let n = 1; ; n++) {
    const path = `${checkpoint}.damaged${n === 1 ? '' : `-${n}`}`;
    if (await ifPresent(lstat(path))) continue;
    await rename(checkpoint, path);
    await syncFolder(dirname(path));
    return path;
  }
}
