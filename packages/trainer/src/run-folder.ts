import { writeFileAtomic } from '@alignprop/autograd-ext/weights';
import { listCheckpoints, removeCheckpoints } from './checkpoint-files.js';
import type { AlignPropConfig } from './config.js';

/** The files of a run. */
export interface RunFolder {
  readonly path: string;
  readonly checkpoints: string;
  readonly metrics: string;
}

/** Where a run's files go; undefined if nothing is to be written. */
export function runFolder({ output_dir, project_kwargs, logdir, run_name }: AlignPropConfig): RunFolder | undefined {
  const path = output_dir || project_kwargs.project_dir || (run_name && `${logdir}/${run_name}`);
  if (!path) return undefined;
  return { path, checkpoints: `${path}/checkpoints`, metrics: `${path}/metrics.jsonl` };
}

/**
 * Makes the folder and writes config.json into it, before any work is done.
 * @param resumedStep the step a run goes on from; undefined for a new one
 * @throws if the folder cannot be written, or holds checkpoints of another run (later than `resumedStep`)
 */
export async function prepareRunFolder(folder: RunFolder, config: AlignPropConfig, resumedStep?: number): Promise<void> {
  const others = (await listCheckpoints(folder.checkpoints)).filter((step) => step > (resumedStep ?? -1));
  if (others.length > 0 && !config.overwrite_output_dir) {
    const found = others.map((step) => `checkpoint_${step}`).join(', ');
    const origin = resumedStep === undefined ? '' : ` beyond step ${resumedStep}`;
    throw new Error(`output_dir: ${folder.path} already holds ${found}${origin} of another run. Choose another output_dir, set resume_from to continue that run, or set overwrite_output_dir.`);
  }
  try {
    const { mkdir } = await import('node:fs/promises');
    await mkdir(folder.checkpoints, { recursive: true });
    await writeFileAtomic(`${folder.path}/config.json`, new TextEncoder().encode(`${JSON.stringify(config, null, 2)}\n`));
  } catch (cause) {
    throw new Error(`output_dir: cannot write to ${folder.path}: ${(cause as Error).message}. Choose another folder.`, { cause });
  }
  await removeCheckpoints(folder.checkpoints, others);
}

/** Whether a checkpoint is the one that this run would write after so many steps. */
export async function isOwnCheckpoint(folder: RunFolder, path: string, globalStep: number): Promise<boolean> {
  const { resolve } = await import('node:path');
  return resolve(path) === resolve(folder.checkpoints, `checkpoint_${globalStep}`);
}
