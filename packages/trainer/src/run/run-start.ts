import type { AlignPropConfig } from '../config/config.js';
import { silent } from '../logger.js';
import { checkpointToResume, findCheckpoint } from './checkpoint-to-resume.js';
import { readCheckpointManifest } from './checkpoints.js';
import { checkRunFolder, runFolder } from './folder.js';
import { createManifest, readManifestFile, type ManifestParts, type RunManifest } from './manifest.js';
import { checkResume } from './resume-rules.js';

/** The manifest of a run, and the run's folder. */
export interface FoundManifest {
  readonly manifest: RunManifest;
  /** Undefined for a checkpoint that lies in no run's folder. */
  readonly folder?: string;
}

/**
 * Finds the manifest of the run that `resume_from` means: run.json of its folder, or else the one in the checkpoint.
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
  const checkpoint = await findCheckpoint(location);
  return checkpoint && { manifest: await readCheckpointManifest(checkpoint.path), folder };
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
  const found = config.resume_from ? await checkpointToResume(config.resume_from, folder, silent) : undefined;
  if (found) {
    const { path } = found;
    checkResume({ path, stored: await readCheckpointManifest(path), current: manifest, force }, silent);
  }
  if (!folder) return;
  const isBegunAnew = Boolean(config.resume_from) && !found;
  await checkRunFolder(folder, { config, manifest, isBegunAnew, resumedStep: found?.ownStep, damaged: found?.damaged });
}
