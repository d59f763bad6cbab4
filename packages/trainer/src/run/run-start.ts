import type { AlignPropConfig } from '../config/config.js';
import { silent } from '../logger.js';
import { findCheckpoint, readCheckpointManifest } from './checkpoints.js';
import { checkpointToResume, checkRunFolder, isOwnCheckpoint, runFolder } from './folder.js';
import { createManifest, readManifestFile, type ManifestParts, type RunManifest } from './manifest.js';
import { checkResume, type StoredManifest } from './resume-rules.js';

/** The manifest of a run, and the run's folder. */
export interface FoundManifest {
  readonly manifest: StoredManifest;
  /** Undefined for a checkpoint that lies in no run's folder. */
  readonly folder?: string;
}

/**
 * Finds the manifest of the run that `resume_from` means: run.json of its folder, or else the one in the checkpoint.
 * That of a checkpoint of older versions has the configuration alone.
 * @param location a run's folder, its `checkpoints` or one of these
 * @returns undefined if there is neither
 * @throws if the manifest is damaged
 */
export async function findManifest(location: string): Promise<FoundManifest | undefined> {
  const { basename, dirname } = await import('node:path');
  const isCheckpoint = /^checkpoint_\d+$/.test(basename(location));
  const parent = isCheckpoint ? dirname(location) : location;
  const folder = basename(parent) === 'checkpoints' ? dirname(parent) : isCheckpoint ? undefined : location;
  const manifest = folder === undefined ? undefined : await readManifestFile(folder);
  if (manifest) return { manifest, folder };
  const checkpoint = await findCheckpoint(location).catch(() => undefined);
  return checkpoint === undefined ? undefined : { manifest: await readCheckpointManifest(checkpoint), folder };
}

/** A run that is about to start. */
export interface PlannedRun {
  readonly config: Pick<
    AlignPropConfig,
    'output_dir' | 'project_kwargs' | 'logdir' | 'run_name' | 'overwrite_output_dir' | 'resume_from'
  > &
    Readonly<Record<string, unknown>>;
  /** The trainer's; that of AlignPropTrainer by default. */
  readonly algorithm?: RunManifest['algorithm'];
  readonly manifest?: ManifestParts;
  readonly force?: readonly string[];
}

/**
 * Checks what the start of a run checks, before a model is loaded for it: that its folder is free, that the checkpoint
 * to resume from exists, and that this belongs to such a run. Changes nothing and warns of nothing.
 * @throws as the `train` of the trainers does
 */
export async function checkRunStart({
  config,
  algorithm = 'alignprop',
  manifest: parts,
  force,
}: PlannedRun): Promise<void> {
  const manifest = createManifest(algorithm, config, parts);
  const folder = runFolder(config);
  const path = config.resume_from ? await checkpointToResume(config.resume_from, folder, silent) : undefined;
  if (path) checkResume({ path, stored: await readCheckpointManifest(path), current: manifest, force }, silent);
  if (!folder) return;
  const step = path && Number(/(\d+)[\\/]*$/.exec(path)![1]);
  const isOwn = path !== undefined && (await isOwnCheckpoint(folder, path, step as number));
  const isBegunAnew = Boolean(config.resume_from) && !path;
  await checkRunFolder(folder, { config, manifest, isBegunAnew, ...(isOwn && { resumedStep: step as number }) });
}
