import { isTemporaryName } from '@alignprop/autograd-ext/weights';
import { listCheckpoints } from './checkpoints.js';
import { manifestFile, readManifestFile } from './manifest.js';

/** Names of the files and folders that a run writes, besides its tracker's folder. */
const runFiles = [
  ...['config.json', manifestFile, 'run.lock', 'metrics.jsonl', 'evaluations.jsonl', 'before-after.png'],
  ...['samples', 'evaluations', 'best', 'unet', 'pytorch_lora_weights.safetensors', 'checkpoints'],
];
/** Copies of the run's prompts. */
const promptsFile = /^(eval-)?prompts\.\w+$/;

/** The trained weights of a run that has ended. */
const weights = ['pytorch_lora_weights.safetensors', 'unet'];

/** The files of an earlier run in a folder. */
export interface EarlierRun {
  /** Checkpoints and trained weights, by the names of their files and folders. */
  readonly results: readonly string[];
  /** Whether it took a step or finished an evaluation. */
  readonly hasStarted: boolean;
  /** The kind in its manifest; undefined where it has none. */
  readonly kind: string | undefined;
  /** Files and folders that no run writes. */
  readonly strangers: readonly string[];
}

/** Looks for a run in a folder, which need not exist. @throws if its manifest is damaged */
export async function findEarlierRun(path: string): Promise<EarlierRun> {
  const names = await listFolder(path);
  const manifest = await readManifestFile(path);
  const trackers = [manifest?.config.tracker_project_name ?? 'trl'];
  const isKnown = (name: string) =>
    [...runFiles, ...trackers].includes(name) || promptsFile.test(name) || isTemporaryName(name);
  const checkpoints = (await listCheckpoints(`${path}/checkpoints`)).map((step) => `checkpoint_${step}`);
  return {
    results: [...checkpoints, ...weights.filter((name) => names.includes(name))],
    hasStarted: await isAnyFilled([`${path}/metrics.jsonl`, `${path}/evaluations.jsonl`]),
    kind: manifest?.kind,
    strangers: names.filter((name) => !isKnown(name)),
  };
}

async function listFolder(path: string): Promise<readonly string[]> {
  const { readdir } = await import('node:fs/promises');
  return readdir(path).catch(() => []);
}

async function isAnyFilled(paths: readonly string[]): Promise<boolean> {
  const { stat } = await import('node:fs/promises');
  const sizes = paths.map((path) =>
    stat(path).then(
      ({ size }) => size,
      () => 0,
    ),
  );
  return (await Promise.all(sizes)).some((size) => size > 0);
}

/**
 * Moves the run in a folder to `<folder>.old-<n>`, a new folder beside it; the folder itself and its lock stay. The
 * checkpoints go last, so that a crash in between leaves a folder that is still recognised as a run's.
 * @returns the new folder
 */
export async function moveRunAside(path: string): Promise<string> {
  const { rename } = await import('node:fs/promises');
  const aside = await createFolderBeside(path);
  const names = (await listFolder(path)).filter((name) => name !== 'run.lock' && name !== 'checkpoints');
  for (const name of [...names, 'checkpoints'])
    await rename(`${path}/${name}`, `${aside}/${name}`).catch(unlessMissing);
  return aside;
}

/**
 * Moves checkpoints of a run to `<folder>.old-<n>`, and copies what goes on to change besides them.
 * @returns the new folder
 */
export async function moveCheckpointsAside(path: string, steps: readonly number[]): Promise<string> {
  const { cp, mkdir, rename } = await import('node:fs/promises');
  const aside = await createFolderBeside(path);
  for (const name of [manifestFile, 'config.json', 'metrics.jsonl', 'evaluations.jsonl', 'best', ...weights])
    await cp(`${path}/${name}`, `${aside}/${name}`, { recursive: true }).catch(unlessMissing);
  await mkdir(`${aside}/checkpoints`);
  for (const name of steps.map((step) => `checkpoints/checkpoint_${step}`))
    await rename(`${path}/${name}`, `${aside}/${name}`);
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

function unlessMissing(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
}
