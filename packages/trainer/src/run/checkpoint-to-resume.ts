import { ifPresent } from '@alignprop/autograd-ext/weights';
import type { Logger } from '../logger.js';
import { listCheckpoints, stepOf } from './checkpoint-folder.js';
import { describeDamage } from './checkpoints.js';
import type { RunFolder } from './folder.js';

/** The checkpoint that a run resumes from. */
export interface CheckpointToResume {
  readonly path: string;
  /** Its step, if it is the one that the run itself would write after so many steps. */
  readonly ownStep?: number;
  /** Newer checkpoints of the run's own folder, which are damaged. */
  readonly damaged: readonly string[];
}

/**
 * Finds the checkpoint that `resume_from` names: the path itself, or the newest in that folder or its `checkpoints/`
 * that is not damaged. Changes nothing; warns of damaged ones.
 * @returns undefined if that is the run's own folder and has none: a run that was killed before its first checkpoint
 *   begins anew, so that one command both starts and resumes a run
 * @throws if another place has no checkpoint, all are damaged, or one cannot be read
 */
export async function checkpointToResume(
  location: string,
  folder: RunFolder | undefined,
  logger: Logger,
): Promise<CheckpointToResume | undefined> {
  const { dirname, resolve } = await import('node:path');
  const isOwn = (path: string) => folder !== undefined && resolve(path) === resolve(folder.checkpoints);
  const found = await findCheckpoint(location);
  if (found) {
    const { path, damaged } = found;
    for (const { path: other, problem } of damaged)
      logger.warn(`resume_from: ${other} is damaged: ${problem}. The run goes on from ${path}.`);
    if (!isOwn(dirname(path))) return { path, damaged: [] };
    return { path, ownStep: stepOf(path), damaged: damaged.map((checkpoint) => checkpoint.path) };
  }
  if (!folder || ![folder.path, folder.checkpoints].some((path) => resolve(path) === resolve(location)))
    throw new Error(
      `resume_from: no checkpoint in '${location}', looked for checkpoint_<number> there and in checkpoints/. ` +
        'Give a checkpoint or the folder it is in.',
    );
  logger.warn(`resume_from: no checkpoint in '${location}' yet, so the run begins anew.`);
  return undefined;
}

interface FoundCheckpoint {
  readonly path: string;
  /** Newer ones in the same folder that are damaged, and what is wrong with them. */
  readonly damaged: readonly { readonly path: string; readonly problem: string }[];
}

/**
 * The checkpoint at a location, or the newest in that folder or its `checkpoints/` that is not damaged.
 * @returns undefined if there is none
 * @throws if all are damaged, or one cannot be read
 */
export async function findCheckpoint(location: string): Promise<FoundCheckpoint | undefined> {
  const damaged: FoundCheckpoint['damaged'][number][] = [];
  for (const path of await checkpointsAt(location)) {
    const problem = await describeDamage(path);
    if (problem === undefined) return { path, damaged };
    damaged.push({ path, problem });
  }
  if (damaged.length === 0) return undefined;
  throw new Error(
    `Checkpoint: cannot resume from ${damaged.map(({ path, problem }) => `${path}: ${problem}`).join('; ')}. ` +
      'Resume from another checkpoint, restore this one from a copy, or start a run in a new output_dir.',
  );
}

/** Checkpoints that a location means, the newest first. */
async function checkpointsAt(location: string): Promise<readonly string[]> {
  const { stat } = await import('node:fs/promises');
  if (stepOf(location) !== undefined && (await ifPresent(stat(location)))?.isDirectory()) return [location];
  for (const folder of [location, `${location}/checkpoints`]) {
    const steps = await listCheckpoints(folder);
    if (steps.length > 0) return steps.toReversed().map((step) => `${folder}/checkpoint_${step}`);
  }
  return [];
}
