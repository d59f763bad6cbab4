import { isTemporaryName, writeFileAtomic } from '@alignprop/autograd-ext/weights';
import { findCheckpoint, isUnfinished, listCheckpoints } from './checkpoints.js';
import type { AlignPropConfig } from '../config/config.js';
import type { Logger } from '../logger.js';
import { findEarlierRun, moveCheckpointsAside, moveRunAside } from './earlier-run.js';
import { takeRunLock, type RunLock } from './lock.js';
import { manifestFile, type RunManifest } from './manifest.js';

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
export async function claimRunFolder({ path, checkpoints }: RunFolder, logger: Logger): Promise<RunLock> {
  const { mkdir, readdir, rm } = await import('node:fs/promises');
  await writing(path, () => mkdir(path, { recursive: true }));
  const lock = await writing(path, () => takeRunLock(path, logger));
  const folders = [path, `${path}/unet`, `${path}/best`, `${path}/best/unet`, `${path}/samples`, `${path}/evaluations`];
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

/** A start of a run in its folder. */
export interface RunStart {
  readonly config: Pick<AlignPropConfig, 'overwrite_output_dir'>;
  readonly manifest: RunManifest;
  /** The step of the folder's own checkpoint that the run resumes from; undefined for a run that is new there. */
  readonly resumedStep?: number;
  /** Whether it is to resume from the folder, which has no checkpoint yet: it begins anew, in place. */
  readonly isBegunAnew?: boolean;
}

/**
 * Checks that a run may start in a folder; changes nothing.
 * @throws if the folder holds checkpoints or weights of another run (those after `resumedStep`) and
 *   `overwrite_output_dir` is not set; with it, if that run is of another kind, or files are there that no run writes
 */
export async function checkRunFolder(
  { path, checkpoints }: RunFolder,
  { config, manifest, resumedStep, isBegunAnew }: RunStart,
): Promise<void> {
  if (isBegunAnew) return;
  if (resumedStep !== undefined) {
    const later = (await listCheckpoints(checkpoints)).filter((step) => step > resumedStep);
    const names = later.map((step) => `checkpoint_${step}`);
    if (names.length > 0 && !config.overwrite_output_dir) refuseFolder(path, names, ` beyond step ${resumedStep}`);
    return;
  }
  const earlier = await findEarlierRun(path);
  if (earlier.results.length > 0 && !config.overwrite_output_dir) refuseFolder(path, earlier.results, '');
  if (!config.overwrite_output_dir || (earlier.results.length === 0 && !earlier.hasStarted)) return;
  if (family(earlier.kind ?? manifest.algorithm) !== family(manifest.kind))
    throw new Error(
      `overwrite_output_dir: ${path} holds a run of the kind '${earlier.kind ?? 'unknown'}', ` +
        `expected '${manifest.kind}'. Choose another output_dir, or move that run away.`,
    );
  if (earlier.strangers.length === 0) return;
  const names = earlier.strangers.slice(0, 5).join(', ') + (earlier.strangers.length > 5 ? ', …' : '');
  throw new Error(
    `overwrite_output_dir: ${path} holds ${names}, expected the files of a run alone. ` +
      'Choose another output_dir, or move these files away.',
  );
}

/** The kind of a run, where the runs of both algorithms count as one kind. */
const family = (kind: string): string => (kind === 'ddpo' ? 'alignprop' : kind);

function refuseFolder(path: string, names: readonly string[], origin: string): never {
  throw new Error(
    `output_dir: ${path} already holds ${names.join(', ')}${origin} of another run. Choose another output_dir, ` +
      'set resume_from to continue that run, or set overwrite_output_dir to move it aside.',
  );
}

/**
 * Writes config.json, run.json and `files` into the folder before any work is done. What another run left there is
 * moved to `<folder>.old-<n>` first: with `overwrite_output_dir` a run with results, and always one that was killed
 * before its first checkpoint, unless it is that one which begins anew.
 * @param files contents by name
 * @throws as `checkRunFolder`, or if the folder cannot be written
 */
export async function prepareRunFolder(
  folder: RunFolder,
  start: RunStart,
  files: Readonly<Record<string, Uint8Array>>,
  logger: Logger,
): Promise<void> {
  await checkRunFolder(folder, start);
  const { path, checkpoints } = folder;
  const { mkdir } = await import('node:fs/promises');
  await writing(path, async () => {
    const aside = await makeRoom(folder, start);
    if (aside) logger.info(`Moved the earlier run in ${path} to ${aside}.`);
    await mkdir(checkpoints, { recursive: true });
  });
  const asText = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;
  for (const [name, content] of Object.entries(files)) await writeFileAtomic(`${path}/${name}`, content);
  await writeFileAtomic(`${path}/config.json`, asText(start.manifest.config));
  await writeFileAtomic(`${path}/${manifestFile}`, asText(start.manifest));
}

/** @returns where another run was moved, if there was one */
async function makeRoom(
  { path, checkpoints }: RunFolder,
  { resumedStep, isBegunAnew }: RunStart,
): Promise<string | undefined> {
  if (isBegunAnew) return undefined;
  if (resumedStep !== undefined) {
    const later = (await listCheckpoints(checkpoints)).filter((step) => step > resumedStep);
    return later.length > 0 ? moveCheckpointsAside(path, later) : undefined;
  }
  const { results, hasStarted } = await findEarlierRun(path);
  return results.length > 0 || hasStarted ? moveRunAside(path) : undefined;
}

/** Whether a checkpoint is the one that this run itself would write after so many steps. */
export async function isOwnCheckpoint(folder: RunFolder, path: string, globalStep: number): Promise<boolean> {
  const { resolve } = await import('node:path');
  return resolve(path) === resolve(folder.checkpoints, `checkpoint_${globalStep}`);
}
