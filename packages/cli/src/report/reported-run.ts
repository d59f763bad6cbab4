import { basename, resolve } from 'node:path';
import { maskSecrets } from '@alignprop/autograd-ext/outside';
import { findManifest, type RunManifest } from '@alignprop/trainer';
import { pathExists } from '../path-exists.js';
import { readRecords, type RunRecord } from '../run-records.js';
import { UsageError } from '../terminal/errors.js';
import type { PictureReader, RunPictures } from './run-pictures.js';

/** A run as its folder tells it. */
export interface ReportedRun {
  /** The name in the page: that of the folder, or its path where several have the same. */
  readonly name: string;
  readonly folder: string;
  readonly manifest: RunManifest;
  /** The records of its steps, in their order. */
  readonly steps: readonly RunRecord[];
  /** The rows of its evaluations. */
  readonly evaluations: readonly RunRecord[];
  /** The lines of both files that cannot be read: `metrics.jsonl, line 3`. */
  readonly damaged: readonly string[];
  readonly state: RunState;
  readonly pictures: RunPictures;
}

/** `locked`: it goes on, or was killed and has left its lock. `stopped`: it has no weights yet, and no process. */
export type RunState = 'ended' | 'locked' | 'stopped';

/**
 * Reads runs to report.
 * @param command the command that reads them, for messages
 * @throws UsageError if a folder is not that of a run, or is given twice; an error if its manifest is damaged
 */
export async function readRuns(
  command: string,
  folders: readonly string[],
  pictures: PictureReader,
): Promise<readonly ReportedRun[]> {
  const paths = folders.map((folder) => resolve(folder));
  const twice = folders.find((_, i) => paths.indexOf(paths[i]!) !== i);
  if (twice !== undefined)
    throw new UsageError(`${command}: got the folder '${twice}' twice, expected it once. Leave one out.`);
  const names = paths.map((path) => basename(path));
  const isAmbiguous = new Set(names).size < names.length;
  const runs: ReportedRun[] = [];
  for (const [i, folder] of folders.entries()) {
    const found = await findManifest(folder);
    if (found?.folder !== folder)
      throw new UsageError(`${command}: got '${folder}', expected the folder of a run, with run.json. Check the path.`);
    const name = isAmbiguous ? folder : names[i]!;
    runs.push({ name, folder, ...(await readRun(folder, found.manifest, pictures)) });
  }
  return runs;
}

async function readRun(
  folder: string,
  manifest: RunManifest,
  pictures: PictureReader,
): Promise<Omit<ReportedRun, 'name' | 'folder'>> {
  const files = ['metrics.jsonl', 'evaluations.jsonl'] as const;
  const [steps, evaluations] = await Promise.all(files.map((file) => readRecords(`${folder}/${file}`)));
  const damaged = [steps!, evaluations!].flatMap(({ damaged: lines }, i) =>
    lines.map((line) => `${files[i]!}, line ${line}`),
  );
  return {
    manifest: maskSecrets(manifest),
    steps: inOrder(steps!.records),
    evaluations: inOrder(evaluations!.records),
    damaged,
    state: stateOf(folder),
    pictures: await pictures.read(folder),
  };
}

/** The records that have a step, sorted by it; of several of one step the last, which a resumed run wrote. */
function inOrder(records: readonly RunRecord[]): readonly RunRecord[] {
  const byStep = new Map(records.map((record) => [record.global_step!, record]));
  return [...byStep]
    .filter(([step]) => Number.isFinite(step))
    .sort(([a], [b]) => a - b)
    .map(([, record]) => record);
}

function stateOf(folder: string): RunState {
  if (pathExists(`${folder}/run.lock`)) return 'locked';
  const weights = ['pytorch_lora_weights.safetensors', 'unet'];
  return weights.some((name) => pathExists(`${folder}/${name}`)) ? 'ended' : 'stopped';
}
