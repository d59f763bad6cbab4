import { ifPresent, isTemporaryName, syncFolder } from '@alignprop/autograd-ext/weights';
import { adapterFile } from '../model/trained-weights.js';
import { isUnfinished, listFolder } from './checkpoint-folder.js';
import { manifestFile, readManifestFile, type RunManifest } from './manifest.js';
import { hasCardMark, modelCardFile } from './published-files.js';

/** The trained weights of a run that has ended. */
const weightNames = [adapterFile, 'unet'];
/** Files and folders that a run writes while it trains, besides checkpoints, and its report; they may be empty. */
const recordNames = [
  ...['metrics.jsonl', 'evaluations.jsonl', 'before-after.png', 'pictures', 'samples', 'evaluations', 'best'],
  'report.html',
];
const isSettings = (name: string): boolean =>
  [manifestFile, 'config.json'].includes(name) || /^(eval-)?prompts\.\w+$/.test(name);

/** The files of an earlier run in a folder, by name. */
export interface EarlierRun {
  /** Everything that training has written: checkpoints, damaged ones too, weights, records that are not empty. */
  readonly results: readonly string[];
  /** The trained weights of a run that has ended. */
  readonly weights: readonly string[];
  /** Rows of metrics, images, the best adapter, event files. */
  readonly records: readonly string[];
  /** Its configuration, manifest and copies of prompts. */
  readonly settings: readonly string[];
  /** Undefined where it has none. */
  readonly manifest: RunManifest | undefined;
  /** Files and folders that no run writes. */
  readonly strangers: readonly string[];
}

/**
 * Looks for a run in a folder, which need not exist.
 * @throws if its manifest is damaged, or a folder of it cannot be read
 */
export async function findEarlierRun(path: string): Promise<EarlierRun> {
  const names = (await listFolder(path)).filter((name) => name !== 'run.lock' && !isTemporaryName(name)).sort();
  const checkpoints = (await listFolder(`${path}/checkpoints`)).filter((name) => !isUnfinished(name)).sort();
  const [filled, empty, strangers]: [string[], string[], string[]] = [[], [], []];
  for (const name of names) {
    if (recordNames.includes(name)) ((await isEmpty(`${path}/${name}`)) ? empty : filled).push(name);
    else if (!weightNames.includes(name) && name !== 'checkpoints' && !isSettings(name))
      ((await isRecord(path, name)) ? filled : strangers).push(name);
  }
  const weights = weightNames.filter((name) => names.includes(name));
  return {
    results: [...checkpoints, ...weights, ...filled],
    weights,
    records: [...filled, ...empty],
    settings: names.filter(isSettings),
    manifest: await readManifestFile(path),
    strangers,
  };
}

/** Whether a file has no bytes, or a folder no files but temporary ones. */
async function isEmpty(path: string): Promise<boolean> {
  const { stat } = await import('node:fs/promises');
  const entry = await ifPresent(stat(path)); // undefined for a link to what is not there
  if (!entry?.isDirectory()) return entry?.size === 0;
  return (await listFolder(path)).every(isTemporaryName);
}

/** Whether a file or folder that does not have a name of its own is a run's: a model card, or event files. */
const isRecord = async (path: string, name: string): Promise<boolean> =>
  name === modelCardFile ? hasCardMark(path) : hasEvents(`${path}/${name}`);

/** Whether a folder holds event files of TensorBoard. */
async function hasEvents(path: string): Promise<boolean> {
  const { readdir } = await import('node:fs/promises');
  const names = (await ifPresent(readdir(path))) ?? [];
  return names.some((name) => name.startsWith('events.out.tfevents'));
}

/**
 * Moves the run in a folder to `<folder>.old-<n>`, a new folder beside it; the folder itself and its lock stay. The
 * checkpoints go last, so that a crash in between leaves a folder that is still recognised as a run's.
 * @returns the new folder
 */
export async function moveRunAside(path: string, { weights, records, settings }: EarlierRun): Promise<string> {
  return moveAside(path, [...records, ...weights, ...settings, 'checkpoints']);
}

/**
 * Moves what a run has written while it trained to `<folder>.old-<n>`, and copies its settings there: the run begins
 * anew in its folder.
 * @returns the new folder
 */
export async function moveResultsAside(path: string, { records, settings }: EarlierRun): Promise<string> {
  return moveAside(path, [...records, 'checkpoints'], settings);
}

/**
 * Moves checkpoints of a run to `<folder>.old-<n>`, and copies what goes on to change besides them.
 * @returns the new folder
 */
export async function moveCheckpointsAside(path: string, steps: readonly number[]): Promise<string> {
  const copied = [manifestFile, 'config.json', 'metrics.jsonl', 'evaluations.jsonl', 'best', ...weightNames];
  const moved = steps.map((step) => `checkpoints/checkpoint_${step}`);
  return moveAside(path, moved, copied);
}

/** Moves and copies files and folders that are there to a new folder beside theirs. */
async function moveAside(path: string, moved: readonly string[], copied: readonly string[] = []): Promise<string> {
  const { cp, mkdir, rename } = await import('node:fs/promises');
  const { dirname } = await import('node:path');
  const aside = await createFolderBeside(path);
  for (const name of copied) await ifPresent(cp(`${path}/${name}`, `${aside}/${name}`, { recursive: true }));
  for (const name of moved) {
    await mkdir(dirname(`${aside}/${name}`), { recursive: true });
    await ifPresent(rename(`${path}/${name}`, `${aside}/${name}`));
  }
  for (const folder of [aside, path]) await syncFolder(folder);
  return aside;
}

async function createFolderBeside(path: string): Promise<string> {
  const [{ mkdir }, { resolve }] = await Promise.all([import('node:fs/promises'), import('node:path')]);
  const base = /(^|[\\/])\.{0,2}[\\/]*$/.test(path) ? resolve(path) : path;
  for (let n = 1; ; n++) {
    const aside = `${base}.old-${n}`;
    try {
      await mkdir(aside);
      return aside;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
}
