import { z } from 'zod';
import { tensor, type Tensor } from '@tensorflow/tfjs-core';
import { readValues, type GeneratorState, type StoredTensor } from '@alignprop/autograd-ext';
import {
  describeSpace,
  directory,
  freeSpace,
  openSafetensors,
  saveSafetensors,
  syncFolder,
  writeFileAtomic,
} from '@alignprop/autograd-ext/weights';
import { excerpt, excerptList, parseJson } from '@alignprop/autograd-ext/outside';
import type { Optimizer } from '../optim/optimizer.js';
import type { TrainedWeights } from '../model/trained-weights.js';
import { listCheckpoints, partialPath } from './checkpoint-folder.js';
import { findDamage, writeChecksums } from './checksums.js';
import { manifestSchema, type RunManifest } from './manifest.js';

const files = { optimizer: 'optimizer.safetensors', average: 'ema.safetensors', state: 'state.json' } as const;

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
  manifest: manifestSchema,
  /** Files of the weights, by paths within the checkpoint. */
  weights: z.array(z.string()),
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

/** Everything that a checkpoint holds. */
export interface CheckpointContents {
  readonly weights: TrainedWeights;
  readonly optimizer: Optimizer;
  /** Moving averages of the weights by parameter path, if the run has them. */
  readonly average?: Readonly<Record<string, Tensor>>;
  readonly state: TrainingState & { readonly manifest: RunManifest };
}

/**
 * Writes `<folder>/checkpoint_<globalStep>/`: the weights in diffusers' layout, optimizer.safetensors, ema.safetensors,
 * state.json and SHA256SUMS. Everything is first written to a folder beside it and flushed to the disk; then the folder
 * is renamed, so that a folder of this name is always complete.
 * @returns its path
 * @throws if it cannot be written, at once if there is no room for it; the error names the bytes that are needed and
 *   free, and the newest checkpoint
 */
export async function writeCheckpoint(folder: string, contents: CheckpointContents): Promise<string> {
  const { rename, rm } = await import('node:fs/promises');
  const path = `${folder}/checkpoint_${contents.state.globalStep}`;
  const partial = partialPath(path);
  const size = checkpointSize(contents);
  try {
    await rm(partial, { recursive: true, force: true });
    if (((await freeSpace(folder)) ?? Infinity) < size) throw new Error('the disk has no room for it.');
    await writePartial(partial, contents);
    await rename(partial, path);
    await syncFolder(folder);
  } catch (cause) {
    await rm(partial, { recursive: true, force: true }).catch(() => {}); // the first error is the one to report
    const needed = await describeSpace(size, folder);
    throw new Error(
      `Checkpoint: cannot write ${path} (${needed}): ${(cause as Error).message} ${await newestIn(folder)}`,
      { cause },
    );
  }
  return path;
}

async function writePartial(partial: string, contents: CheckpointContents): Promise<void> {
  const { mkdir } = await import('node:fs/promises');
  const { weights, optimizer, average } = contents;
  await mkdir(partial, { recursive: true });
  const weightFiles = await weights.save(partial);
  await saveSafetensors(`${partial}/${files.optimizer}`, optimizer.save(), { format: 'pt' });
  if (average) await saveSafetensors(`${partial}/${files.average}`, average, { format: 'pt' });
  await writeFileAtomic(`${partial}/${files.state}`, JSON.stringify(stateRecord(contents, weightFiles)));
  const written = [...weightFiles, files.optimizer, ...(average ? [files.average] : []), files.state];
  await writeChecksums(partial, written);
}

/** The bytes of a checkpoint, headers of files estimated. */
export function checkpointSize(contents: CheckpointContents): number {
  const { weights, optimizer, average = {} } = contents;
  const tensors = [...Object.values(weights.variables), ...Object.values(average)];
  const header = 150 * (tensors.length + Object.keys(optimizer.save()).length);
  const state = JSON.stringify(stateRecord(contents, [])).length;
  return optimizer.bytes + tensors.reduce((sum, { size }) => sum + 4 * size, 0) + header + state;
}

async function newestIn(folder: string): Promise<string> {
  try {
    const newest = (await listCheckpoints(folder)).at(-1);
    if (newest === undefined) return 'There is no earlier one.';
    return `The newest is ${folder}/checkpoint_${newest}: make room or choose another output_dir, and resume from it.`;
  } catch (error) {
    return `Earlier ones cannot be listed: ${(error as Error).message}.`;
  }
}

function stateRecord({ optimizer, state }: CheckpointContents, weights: readonly string[]): State {
  const { globalStep, generators, otherRanks, reward, evaluation, progress, manifest } = state;
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
    weights: [...weights],
  };
}

/** Says what is wrong with the files of a checkpoint; undefined if they are as they were written. */
export const describeDamage = (path: string): Promise<string | undefined> =>
  findDamage(path, [files.state, files.optimizer]);

/** Reads the manifest of a checkpoint. @throws an error that names state.json, if that is missing or damaged */
export async function readCheckpointManifest(path: string): Promise<RunManifest> {
  return (await named(path, files.state, () => readState(`${path}/${files.state}`))).manifest;
}

/**
 * Reads a checkpoint whose files are undamaged (`describeDamage`), and checks that it fits the weights and optimizer.
 * @throws an error that names the file that cannot be read, or was written for other weights or another optimizer
 */
export async function readCheckpoint(path: string, weights: TrainedWeights, optimizer: Optimizer): Promise<Checkpoint> {
  const state = await named(path, files.state, () => readState(`${path}/${files.state}`));
  const [first = 'its weights'] = state.weights;
  const found = await named(path, first, () => weights.open(path));
  const open = (file: string) =>
    named(path, file, async () => Object.fromEntries((await openSafetensors(directory(path), file)).tensors));
  const stored = await open(files.optimizer);
  const average = (await directory(path).has(files.average)) ? await open(files.average) : undefined;
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
    const why = excerpt((cause as Error).message, 600);
    throw new Error(`Checkpoint: cannot resume from ${path}/${file}: ${why}. Resume from another checkpoint.`, {
      cause,
    });
  }
}

async function readState(path: string): Promise<State> {
  const { readFile } = await import('node:fs/promises');
  const result = stateSchema.safeParse(parseJson(await readFile(path, 'utf8')));
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
  throw new Error(excerptList(problems, 5, 120, '; '));
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
  throw new Error(`it was written for another ${what}: ${excerptList(problems, 3, 150, '; ')}`);
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
