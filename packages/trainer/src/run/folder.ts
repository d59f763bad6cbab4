import { isTemporaryName, writeFileAtomic } from '@alignprop/autograd-ext/weights';
import { findCheckpoint, isUnfinished, listCheckpoints, removeCheckpoints } from './checkpoints.js';
import type { AlignPropConfig } from '../config/config.js';
import type { Logger } from '../logger.js';
import { takeRunLock, type RunLock } from './lock.js';

/** The files of a run. */
export interface RunFolder {
  readonly path: string;
  readonly checkpoints: string;
  readonly metrics: string;
}

/** Where a run's files go; undefined if nothing is to be written. */
export function runFolder({
  output_dir,
  project_kwargs,
  logdir,
  run_name,
}: Pick<AlignPropConfig, 'output_dir' | 'project_kwargs' | 'logdir' | 'run_name'>): RunFolder | undefined {
  const path = output_dir || project_kwargs.project_dir || (run_name && `${logdir}/${run_name}`);
  if (!path) return undefined;
  return { path, checkpoints: `${path}/checkpoints`, metrics: `${path}/metrics.jsonl` };
}

/**
 * Makes the folder, keeps other runs out of it until the lock is released, and removes what a killed one left half
 * written.
 * @throws if it cannot be written, or another run is in it
 */
export async function claimRunFolder({ path, checkpoints }: RunFolder, logger: Logger): Promise<RunLock> {
  const { mkdir, readdir, rm } = await import('node:fs/promises');
  await writing(path, () => mkdir(path, { recursive: true }));
  const lock = await writing(path, () => takeRunLock(path, logger));
  const written = [path, `${path}/unet`, `${path}/best`, `${path}/best/unet`, `${path}/samples`];
  for (const folder of [checkpoints, ...written]) {
    const leftovers = (await readdir(folder).catch(() => [])).filter(
      (name) => isTemporaryName(name) || (folder === checkpoints && isUnfinished(name)),
    );
    for (const name of leftovers) await rm(`${folder}/${name}`, { recursive: true, force: true });
  }
  return lock;
}

/** Names the folder in errors of the file system; others pass. */
async function writing<T>(path: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (cause) {
    if (!(cause as NodeJS.ErrnoException).syscall) throw cause;
    throw new Error(`output_dir: cannot write to ${path}: ${(cause as Error).message}. Choose another folder.`, {
      cause,
    });
  }
}

/**
 * The checkpoint that `resume_from` means. Undefined where that is the run's own folder and there is none: a run that
 * was killed before its first one begins anew, so that the same command starts it and goes on with it.
 * @throws if there is none, elsewhere
 */
export async function checkpointToResume(
  location: string,
  folder: RunFolder | undefined,
  logger: Logger,
): Promise<string | undefined> {
  const { resolve } = await import('node:path');
  try {
    return await findCheckpoint(location);
  } catch (error) {
    if (!folder || ![folder.path, folder.checkpoints].some((own) => resolve(own) === resolve(location))) throw error;
    logger.warn(`resume_from: no checkpoint in '${location}' yet, so the run begins anew.`);
    return undefined;
  }
}

/**
 * Writes config.json into the folder, before any work is done, and removes what of another run is to be overwritten.
 * @param resumedStep the step a run goes on from; undefined for a new one
 * @throws if the folder cannot be written, or holds checkpoints of another run (later than `resumedStep`)
 */
export async function prepareRunFolder(
  folder: RunFolder,
  config: Pick<AlignPropConfig, 'overwrite_output_dir'>,
  resumedStep?: number,
): Promise<void> {
  const others = (await listCheckpoints(folder.checkpoints)).filter((step) => step > (resumedStep ?? -1));
  if (others.length > 0 && !config.overwrite_output_dir) {
    const found = others.map((step) => `checkpoint_${step}`).join(', ');
    const origin = resumedStep === undefined ? '' : ` beyond step ${resumedStep}`;
    throw new Error(
      `output_dir: ${folder.path} already holds ${found}${origin} of another run. Choose another output_dir, set resume_from to continue that run, or set overwrite_output_dir.`,
    );
  }
  const { mkdir } = await import('node:fs/promises');
  await writing(folder.path, () => mkdir(folder.checkpoints, { recursive: true }));
  await writeFileAtomic(`${folder.path}/config.json`, `${JSON.stringify(config, null, 2)}\n`);
  await removeCheckpoints(folder.checkpoints, others);
}

/** Whether a checkpoint is the one that this run would write after so many steps. */
export async function isOwnCheckpoint(folder: RunFolder, path: string, globalStep: number): Promise<boolean> {
  const { resolve } = await import('node:path');
  return resolve(path) === resolve(folder.checkpoints, `checkpoint_${globalStep}`);
}
