import { excerptList } from '@alignprop/autograd-ext/outside';
import { ifPresent, isTemporaryName, syncFolder, writeFileAtomic } from '@alignprop/autograd-ext/weights';
import type { AlignPropConfig } from '../config/config.js';
import type { Logger } from '../logger.js';
import { isUnfinished, listCheckpoints, setAside, stepOf } from './checkpoint-folder.js';
import {
  findEarlierRun,
  moveCheckpointsAside,
  moveResultsAside,
  moveRunAside,
  type EarlierRun,
} from './earlier-run.js';
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
export async function claimRunFolder(folder: RunFolder, logger: Logger): Promise<RunLock> {
  const { path } = folder;
  await writing(path, () => createFolder(path));
  const lock = await writing(path, () => takeRunLock(path, logger));
  try {
    await writing(path, () => removeLeftovers(folder));
  } catch (error) {
    await lock.release().catch(() => {}); // the first error is the one to report
    throw error;
  }
  return lock;
}

/** Creates a folder with those around it, and flushes their entries to the disk. */
async function createFolder(path: string): Promise<void> {
  const { mkdir } = await import('node:fs/promises');
  const { dirname, resolve } = await import('node:path');
  const first = await mkdir(path, { recursive: true });
  if (first === undefined) return;
  const top = resolve(first); // mkdir returns a relative path where it was given one
  for (let folder = resolve(path); folder.startsWith(top); folder = dirname(folder)) await syncFolder(dirname(folder));
}

/** Removes what killed runs were writing or deleting. */
async function removeLeftovers({ path, checkpoints }: RunFolder): Promise<void> {
  const { readdir, rm } = await import('node:fs/promises');
  const folders = [
    path,
    `${path}/unet`,
    `${path}/best`,
    `${path}/best/unet`,
    `${path}/samples`,
    `${path}/evaluations`,
    `${path}/pictures`,
  ];
  for (const folder of [checkpoints, ...folders]) {
    const names = (await ifPresent(readdir(folder))) ?? [];
    const isLeftover = (name: string) => isTemporaryName(name) || (folder === checkpoints && isUnfinished(name));
    for (const name of names.filter(isLeftover)) await rm(`${folder}/${name}`, { recursive: true, force: true });
  }
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

/** A start of a run in its folder. */
export interface RunStart {
  readonly config: Pick<AlignPropConfig, 'overwrite_output_dir'>;
  readonly manifest: RunManifest;
  /** The step of the folder's own checkpoint that the run resumes from; undefined for a run that is new there. */
  readonly resumedStep?: number;
  /** Damaged checkpoints of the folder beyond that step; they get other names. */
  readonly damaged?: readonly string[];
  /** Whether it is to resume from the folder, which has no checkpoint yet: it begins anew. */
  readonly isBegunAnew?: boolean;
}

/**
 * Checks that a run may start in a folder; changes nothing.
 * @throws if the folder holds anything that another run has trained or recorded (checkpoints after `resumedStep`, or
 *   the weights of an ended run where the run begins anew) and `overwrite_output_dir` is not set; with it, if that run
 *   is of another kind, or files are there that no run writes
 */
export async function checkRunFolder(folder: RunFolder, start: RunStart): Promise<void> {
  const { config, manifest, resumedStep, isBegunAnew = false } = start;
  const { path } = folder;
  if (resumedStep !== undefined) {
    const names = (await laterCheckpoints(folder, start)).map((step) => `checkpoint_${step}`);
    if (names.length > 0 && !config.overwrite_output_dir) refuseFolder(path, names, ` beyond step ${resumedStep}`);
    return;
  }
  const earlier = await findEarlierRun(path);
  const held = isBegunAnew ? earlier.weights : earlier.results;
  if (held.length === 0) return;
  if (!config.overwrite_output_dir) refuseFolder(path, held, isBegunAnew ? ', and no checkpoint,' : '');
  const kind = earlier.manifest?.kind;
  if (family(kind ?? manifest.algorithm) !== family(manifest.kind))
    throw new Error(
      `overwrite_output_dir: ${path} holds a run of the kind '${kind ?? 'unknown'}', ` +
        `expected '${manifest.kind}'. Choose another output_dir, or move that run away.`,
    );
  if (earlier.strangers.length === 0) return;
  const names = excerptList(earlier.strangers, 5);
  throw new Error(
    `overwrite_output_dir: ${path} holds ${names}, expected the files of a run alone. ` +
      'Choose another output_dir, or move these files away.',
  );
}

/** The kind of a run, where the runs of both algorithms count as one kind. */
const family = (kind: string): string => (kind === 'ddpo' ? 'alignprop' : kind);

/** The steps of undamaged checkpoints beyond the one that a run resumes from. */
async function laterCheckpoints(
  { checkpoints }: RunFolder,
  { resumedStep = 0, damaged = [] }: RunStart,
): Promise<readonly number[]> {
  const damagedSteps = damaged.map(stepOf);
  return (await listCheckpoints(checkpoints)).filter((step) => step > resumedStep && !damagedSteps.includes(step));
}

function refuseFolder(path: string, names: readonly string[], origin: string): never {
  throw new Error(
    `output_dir: ${path} already holds ${names.join(', ')}${origin} of another run. Choose another output_dir, ` +
      'set resume_from to continue that run, or set overwrite_output_dir to move it aside.',
  );
}

/**
 * Writes config.json, run.json and `files` into the folder before any work is done. What another run left there is
 * moved to `<folder>.old-<n>` first, and so is what a run had recorded that was killed before its first checkpoint and
 * begins anew. Damaged checkpoints are renamed.
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
    for (const damaged of start.damaged ?? []) logger.info(`Renamed ${damaged} to ${await setAside(damaged)}.`);
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
async function makeRoom(folder: RunFolder, start: RunStart): Promise<string | undefined> {
  const { path } = folder;
  if (start.resumedStep !== undefined) {
    const later = await laterCheckpoints(folder, start);
    return later.length > 0 ? moveCheckpointsAside(path, later) : undefined;
  }
  const earlier = await findEarlierRun(path);
  const hasResults = earlier.results.length > 0;
  if (start.isBegunAnew && earlier.weights.length === 0)
    return hasResults ? moveResultsAside(path, earlier) : undefined;
  return hasResults || hasOtherSettings(earlier, start.manifest) ? moveRunAside(path, earlier) : undefined;
}

/** Whether a folder holds settings other than those that are about to be written. */
const hasOtherSettings = ({ settings, manifest }: EarlierRun, written: RunManifest): boolean =>
  settings.length > 0 && JSON.stringify(manifest) !== JSON.stringify(written);
