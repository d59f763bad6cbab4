import { z } from 'zod';
import { tensor, type Tensor } from '@tensorflow/tfjs-core';
import { readValues, type GeneratorState, type StoredTensor } from '@alignprop/autograd-ext';
import {
  directory,
  openSafetensors,
  saveSafetensors,
  syncFolder,
  writeFileAtomic,
} from '@alignprop/autograd-ext/weights';
import { parseJson, record } from '@alignprop/autograd-ext/outside';
import type { Optimizer } from '../optim/optimizer.js';
import type { TrainedWeights } from '../model/trained-weights.js';
import { manifestSchema, type RunManifest } from './manifest.js';
import type { StoredManifest } from './resume-rules.js';

const files = { optimizer: 'optimizer.safetensors', average: 'ema.safetensors', state: 'state.json' } as const;

/** The suffixes of a checkpoint's folder while it is written or deleted. */
const suffixes = { partial: '.partial', deleted: '.deleted' } as const;

const generatorState = z.strictObject({ engine: z.array(z.int()), nextNormal: z.number().nullable() });

const stateSchema = z.strictObject({
  version: z.literal(1),
  /** Optimizer steps taken. */
  global_step: z.int().min(0),
  /** The optimizer's own step count, which the learning-rate schedule follows. */
  optimizer_step: z.int().min(0),
  generators: z.record(z.string(), generatorState),
  /** The generators of ranks 1 and up, where several processes trained. */
  other_ranks: z.array(z.record(z.string(), generatorState)).optional(),
  /** The state of a reward that learns from its scores. */
  reward: z.unknown().optional(),
  /** The state of the held-out evaluations. */
  evaluation: z.unknown().optional(),
  /** The algorithm's further state. */
  progress: z.unknown().optional(),
  /** The run that it belongs to; it is compared with the run that resumes from it. */
  manifest: manifestSchema.optional(),
  /** The configuration, in checkpoints of versions without a manifest. */
  config: z.record(z.string(), z.unknown()).optional(),
  /** Hashes of the other files, those in folders included. */
  sha256: z
    .record(z.string(), z.string())
    .refine((hashes) => Object.hasOwn(hashes, files.optimizer), `expected an entry for ${files.optimizer}`),
});

type State = z.output<typeof stateSchema>;

/** The contents of a checkpoint besides tensors. */
export interface TrainingState {
  readonly globalStep: number;
  readonly generators: Readonly<Record<string, GeneratorState>>;
  /** Generators of ranks 1 and up, where several processes trained. */
  readonly otherRanks?: readonly Readonly<Record<string, GeneratorState>>[];
  /** The state of a reward that learns from its scores, as JSON. */
  readonly reward?: unknown;
  /** The state of the held-out evaluations, as JSON. */
  readonly evaluation?: unknown;
  /** The algorithm's further state, as JSON. */
  readonly progress?: unknown;
}

/** A checkpoint that was read; its tensors belong to the caller. */
export interface Checkpoint extends TrainingState {
  readonly path: string;
  /** Values of the trained variables, by parameter path. */
  readonly weights: Readonly<Record<string, Tensor>>;
  /** Moving averages of `weights`, if the run had them. */
  readonly average?: Readonly<Record<string, Tensor>>;
  /** The arguments of `Optimizer.load`. */
  readonly optimizer: { readonly steps: number; readonly stored: Readonly<Record<string, StoredTensor>> };
}

/**
 * Writes `<folder>/checkpoint_<globalStep>/`: the weights in diffusers' layout, optimizer.safetensors, ema.safetensors
 * and state.json. Everything is first written to a folder beside it and flushed to the disk; then the folder is
 * renamed, so that a folder of this name is always complete.
 * @param average moving averages of the weights by parameter path, if the run has them
 * @returns its path
 * @throws if it cannot be written; the error names the bytes that are needed and free, and the newest checkpoint
 */
export async function writeCheckpoint(
  folder: string,
  weights: TrainedWeights,
  optimizer: Optimizer,
  state: TrainingState & { readonly manifest: RunManifest },
  average?: Readonly<Record<string, Tensor>>,
): Promise<string> {
  const { rename, rm } = await import('node:fs/promises');
  const path = `${folder}/checkpoint_${state.globalStep}`;
  const partial = `${path}${suffixes.partial}`;
  try {
    await writePartial(partial, weights, optimizer, state, average);
    await removeCheckpoints(folder, [state.globalStep]);
    await rename(partial, path);
    await syncFolder(folder);
  } catch (cause) {
    await rm(partial, { recursive: true, force: true }).catch(() => {}); // the first error is the one to report
    const size = optimizer.bytes + bytesOf(weights.variables) + bytesOf(average ?? {});
    const needed = `${size} bytes${await spaceLeft(folder)}`;
    throw new Error(
      `Checkpoint: cannot write ${path} (${needed}): ${(cause as Error).message} ${await newestIn(folder)}`,
      { cause },
    );
  }
  return path;
}

async function writePartial(
  partial: string,
  weights: TrainedWeights,
  optimizer: Optimizer,
  state: TrainingState & { readonly manifest: RunManifest },
  average?: Readonly<Record<string, Tensor>>,
): Promise<void> {
  const { mkdir, rm } = await import('node:fs/promises');
  await rm(partial, { recursive: true, force: true });
  await mkdir(partial, { recursive: true });
  const written = [...(await weights.save(partial)), files.optimizer, ...(average ? [files.average] : [])];
  await saveSafetensors(`${partial}/${files.optimizer}`, optimizer.save(), { format: 'pt' });
  if (average) await saveSafetensors(`${partial}/${files.average}`, average, { format: 'pt' });
  await writeFileAtomic(
    `${partial}/${files.state}`,
    JSON.stringify(await stateRecord(partial, written, optimizer, state)),
  );
}

const bytesOf = (tensors: Readonly<Record<string, Tensor>>): number =>
  4 * Object.values(tensors).reduce((sum, { size }) => sum + size, 0);

async function spaceLeft(folder: string): Promise<string> {
  const { statfs } = await import('node:fs/promises');
  return statfs(folder).then(
    ({ bavail, bsize }) => `; ${bavail * bsize} are free there`,
    () => '',
  );
}

async function newestIn(folder: string): Promise<string> {
  const newest = (await listCheckpoints(folder)).at(-1);
  return newest === undefined
    ? 'There is no earlier one.'
    : `The newest is ${folder}/checkpoint_${newest}: make room or choose another output_dir, and resume from it.`;
}

async function stateRecord(
  folder: string,
  written: readonly string[],
  optimizer: Optimizer,
  { globalStep, generators, otherRanks, reward, evaluation, progress, manifest }: Parameters<typeof writeCheckpoint>[3],
): Promise<State> {
  const sha256 = record<string>();
  for (const file of written) sha256[file] = await fileHash(`${folder}/${file}`);
  return {
    version: 1,
    global_step: globalStep,
    optimizer_step: optimizer.steps,
    generators: generators as State['generators'],
    other_ranks: otherRanks as State['other_ranks'],
    reward,
    evaluation,
    progress,
    manifest,
    sha256,
  };
}

async function fileHash(path: string): Promise<string> {
  const [{ createHash }, { createReadStream }] = await Promise.all([import('node:crypto'), import('node:fs')]);
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path)) hash.update(piece as Uint8Array);
  return hash.digest('hex');
}

/** The steps of the complete checkpoints in a folder, oldest first; none if there is no such folder. */
export async function listCheckpoints(folder: string): Promise<readonly number[]> {
  const { readdir } = await import('node:fs/promises');
  const names = await readdir(folder).catch(() => [] as string[]);
  return names
    .flatMap((name) => /^checkpoint_(\d+)$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b);
}

/** Deletes all but the newest checkpoints of a folder. */
export async function pruneCheckpoints(folder: string, limit: number): Promise<void> {
  await removeCheckpoints(folder, (await listCheckpoints(folder)).slice(0, -limit));
}

/** Deletes the checkpoints of these steps, each renamed first: half a checkpoint never has the name of a whole one. */
export async function removeCheckpoints(folder: string, steps: readonly number[]): Promise<void> {
  const { rename, rm } = await import('node:fs/promises');
  for (const step of steps) {
    const path = `${folder}/checkpoint_${step}`;
    const deleted = `${path}${suffixes.deleted}`;
    await rm(deleted, { recursive: true, force: true });
    await rename(path, deleted).catch(unlessMissing);
    await rm(deleted, { recursive: true, force: true });
  }
}

function unlessMissing(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
}

/** Whether a folder is a checkpoint that a killed process was writing or deleting. */
export const isUnfinished = (name: string): boolean =>
  new RegExp(`^checkpoint_\\d+(${suffixes.partial}|${suffixes.deleted})$`).test(name);

/**
 * The checkpoint that `resume_from` names: the path itself, or the newest in that folder or its `checkpoints/`.
 * @throws if there is none
 */
export async function findCheckpoint(location: string): Promise<string> {
  const { stat } = await import('node:fs/promises');
  if (/(^|[\\/])checkpoint_\d+[\\/]*$/.test(location) && (await stat(location).catch(() => undefined))?.isDirectory())
    return location;
  for (const folder of [location, `${location}/checkpoints`]) {
    const newest = (await listCheckpoints(folder)).at(-1);
    if (newest !== undefined) return `${folder}/checkpoint_${newest}`;
  }
  throw new Error(
    `resume_from: no checkpoint in '${location}', looked for checkpoint_<number> there and in checkpoints/. ` +
      'Give a checkpoint or the folder it is in.',
  );
}

/** Reads the manifest of a checkpoint. @throws an error that names state.json, if that is missing or damaged */
export async function readCheckpointManifest(path: string): Promise<StoredManifest> {
  const { manifest, config = {} } = await named(path, files.state, () => readState(`${path}/${files.state}`));
  return manifest ?? { config };
}

/**
 * Reads a checkpoint, and checks that it fits the weights and the optimizer.
 * @throws an error that names the file that is missing, damaged, or written for other weights or another optimizer
 */
export async function readCheckpoint(path: string, weights: TrainedWeights, optimizer: Optimizer): Promise<Checkpoint> {
  const state = await named(path, files.state, () => readState(`${path}/${files.state}`));
  const { [files.optimizer]: _, [files.average]: averaged, ...hashes } = state.sha256;
  const [first = 'its weights'] = Object.keys(hashes);
  for (const [name, expected] of Object.entries(state.sha256)) {
    await named(path, name, async () => {
      if ((await fileHash(`${path}/${name}`)) !== expected)
        throw new Error('its content is not what was written (sha256 differs)');
    });
  }
  const found = await named(path, first, () => weights.open(path));
  const open = (file: string) =>
    named(path, file, async () => Object.fromEntries((await openSafetensors(directory(path), file)).tensors));
  const stored = await open(files.optimizer);
  const average = averaged === undefined ? undefined : await open(files.average);
  await named(path, first, () => checkShapes(found, weights.variables, 'adapter or model'));
  await named(path, files.optimizer, () => checkShapes(stored, optimizer.save(), 'adapter, model or optimizer'));
  if (average) await named(path, files.average, () => checkShapes(average, weights.variables, 'adapter or model'));
  return {
    path,
    globalStep: state.global_step,
    generators: state.generators,
    otherRanks: state.other_ranks,
    reward: state.reward,
    evaluation: state.evaluation,
    progress: state.progress,
    weights: await readAll(found, weights.variables),
    average: average && (await readAll(average, weights.variables)),
    optimizer: { steps: state.optimizer_step, stored },
  };
}

/** Names the checkpoint's file in the errors of a function. */
async function named<T>(path: string, file: string, read: () => T | Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    throw new Error(
      `Checkpoint: cannot resume from ${path}/${file}: ${(cause as Error).message}. Resume from another checkpoint.`,
      { cause },
    );
  }
}

async function readState(path: string): Promise<State> {
  const { readFile } = await import('node:fs/promises');
  const result = stateSchema.safeParse(parseJson(await readFile(path, 'utf8')));
  if (result.success) return result.data;
  throw new Error(result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '));
}

type Shapes = Readonly<Record<string, { readonly shape: readonly number[] }>>;

/** @throws one error with all entries that are missing, superfluous, or have another shape */
function checkShapes(stored: Shapes, expected: Shapes, what: string): void {
  const problems = Object.entries(expected).flatMap(([key, { shape }]) => {
    const found = stored[key];
    if (!found) return [`${key} is missing`];
    return found.shape.join() === shape.join()
      ? []
      : [`${key} has shape [${found.shape.join(', ')}], expected [${shape.join(', ')}]`];
  });
  problems.push(
    ...Object.keys(stored)
      .filter((key) => !Object.hasOwn(expected, key))
      .map((key) => `${key} belongs to nothing that is trained`),
  );
  if (problems.length === 0) return;
  const rest = problems.length > 5 ? ` and ${problems.length - 5} more` : '';
  throw new Error(`it was written for another ${what}: ${problems.slice(0, 5).join('; ')}${rest}`);
}

/** Reads the entries that `shapes` names into tensors. */
async function readAll(
  stored: Readonly<Record<string, Tensor | StoredTensor>>,
  shapes: Shapes,
): Promise<Record<string, Tensor>> {
  const read = async ([path, { shape }]: [string, Shapes[string]]) =>
    [path, tensor(await readValues(stored[path]!), [...shape])] as const;
  return Object.fromEntries(await Promise.all(Object.entries(shapes).map(read)));
}
