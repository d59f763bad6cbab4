import { isTemporaryName, writeFileAtomic, type ProcessLock } from '@alignprop/autograd-ext/weights';
import { findCheckpoint, isUnfinished, listCheckpoints, removeCheckpoints } from './checkpoints.js';
import type { AlignPropConfig } from '../config/config.js';
import type { Logger } from '../logger.js';
import { takeRunLock } from './lock.js';

/** The files of a run. */
export interface RunFolder {
  readonly path: string;
  readonly checkpoints: string;
  readonly metrics: string;
}

/** The options that name a run's folder. */
export type RunFolderConfig = Pick<
  AlignPropConfig,
  'output_dir' | 'project_kwargs' | 'logdir' | 'run_name' | 'overwrite_output_dir'
>;

/** The folder for a run's files; undefined for a run that writes none. */
export function runFolder({
  output_dir,
  project_kwargs,
  logdir,
  run_name,
}: Omit<RunFolderConfig, 'overwrite_output_dir'>): RunFolder | undefined {
  const path = output_dir || project_kwargs.project_dir || (run_name && `${logdir}/${run_name}`);
  if (!path) return undefined;
  return { path, checkpoints: `${path}/checkpoints`, metrics: `${path}/metrics.jsonl` };
}

/**
 * Creates the folder, locks it against other runs, and removes the partial files of killed ones.
 * @returns the lock, to be released at the end of the run
 * @throws if the folder cannot be written, or another run is in it
 */
export async function claimRunFolder({ path, checkpoints }: RunFolder, logger: Logger): Promise<ProcessLock> {
  const { mkdir, readdir, rm } = await import('node:fs/promises');
  await writing(path, () => mkdir(path, { recursive: true }));
  const lock = await writing(path, () => takeRunLock(path, logger));
  const folders = [path, `${path}/unet`, `${path}/best`, `${path}/best/unet`, `${path}/samples`];
  for (const folder of [checkpoints, ...folders]) {
    const leftovers = (await readdir(folder).catch(() => [])).filter(
      (name) => isTemporaryName(name) || (folder === checkpoints && isUnfinished(name)),
    );
    for (const name of leftovers) await rm(`${folder}/${name}`, { recursive: true, force: true });
  }
  return lock;
}

/** Names the folder in errors of the file system. */
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
 * The checkpoint that `resume_from` names. Undefined if that is the run's own folder and has none: a run that was
 * killed before its first checkpoint begins anew, so that one command both starts and resumes a run.
 * @throws if another place has no checkpoint
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
    if (!folder || ![folder.path, folder.checkpoints].some((path) => resolve(path) === resolve(location))) throw error;
    logger.warn(`resume_from: no checkpoint in '${location}' yet, so the run begins anew.`);
    return undefined;
  }
}

/**
 * Writes config.json into the folder before any work is done, and deletes the checkpoints of another run with
 * `overwrite_output_dir`. config.json leaves out `overwrite_output_dir` and `resume_from`, which hold for one start:
 * as a template of another run it would delete or continue this one.
 * @param resumedStep the step that a run resumes from; undefined for a new run
 * @throws if the folder cannot be written, or holds checkpoints of another run (later than `resumedStep`)
 */
export async function prepareRunFolder(
  folder: RunFolder,
  config: Pick<AlignPropConfig, 'overwrite_output_dir'> & Partial<Pick<AlignPropConfig, 'resume_from'>>,
  resumedStep?: number,
): Promise<void> {
  const others = (await listCheckpoints(folder.checkpoints)).filter((step) => step > (resumedStep ?? -1));
  if (others.length > 0 && !config.overwrite_output_dir) {
    const found = others.map((step) => `checkpoint_${step}`).join(', ');
    const origin = resumedStep === undefined ? '' : ` beyond step ${resumedStep}`;
    throw new Error(
      `output_dir: ${folder.path} already holds ${found}${origin} of another run. Choose another output_dir, ` +
        'set resume_from to continue that run, or set overwrite_output_dir.',
    );
  }
  const { mkdir } = await import('node:fs/promises');
  await writing(folder.path, () => mkdir(folder.checkpoints, { recursive: true }));
  const { overwrite_output_dir: _, resume_from: __, ...stored } = config;
  await writeFileAtomic(`${folder.path}/config.json`, `${JSON.stringify(stored, null, 2)}\n`);
  await removeCheckpoints(folder.checkpoints, others);
}

/** Whether a checkpoint is the one that this run itself would write after so many steps. */
export async function isOwnCheckpoint(folder: RunFolder, path: string, globalStep: number): Promise<boolean> {
  const { resolve } = await import('node:path');
  return resolve(path) === resolve(folder.checkpoints, `checkpoint_${globalStep}`);
}
