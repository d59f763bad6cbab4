import { z } from 'zod';
import { tensor, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import type { GeneratorState, Params, StoredTensor } from '@alignprop/autograd-ext';
import { directory, openSafetensors, saveSafetensors, writeFileAtomic } from '@alignprop/autograd-ext/weights';
import { loadLora, loraModules, saveLora } from '@alignprop/lora';
import type { AdamWState } from './optim/adamw.js';

const files = { adapter: 'pytorch_lora_weights.safetensors', optimizer: 'optimizer.safetensors', state: 'state.json' } as const;

const generatorState = z.strictObject({ engine: z.array(z.int()), nextNormal: z.number().nullable() });

const stateSchema = z.strictObject({
  version: z.literal(1),
  /** Optimizer steps taken. */
  global_step: z.int().min(0),
  /** The optimizer's own count. */
  optimizer_step: z.int().min(0),
  generators: z.record(z.string(), generatorState),
  /** For the reader; a resumed run goes by its own configuration. */
  config: z.record(z.string(), z.unknown()),
  /** Of the other files. */
  sha256: z.strictObject({ [files.adapter]: z.string(), [files.optimizer]: z.string() }),
});

type State = z.output<typeof stateSchema>;

/** What a checkpoint holds besides tensors. */
export interface TrainingState {
  readonly globalStep: number;
  readonly generators: Readonly<Record<string, GeneratorState>>;
  readonly config: Readonly<Record<string, unknown>>;
}

/** A checkpoint as read; its tensors belong to the caller. */
export interface Checkpoint extends TrainingState {
  readonly path: string;
  /** Values of the trained variables, by parameter path. */
  readonly weights: Readonly<Record<string, Tensor>>;
  readonly optimizer: AdamWState;
}

/**
 * Writes `<folder>/checkpoint_<globalStep>/`: the adapter in diffusers' layout, optimizer.safetensors and state.json. Everything is
 * written to a folder beside it first and renamed, so that a folder of this name is complete.
 * @returns its path
 */
export async function writeCheckpoint(folder: string, unet: Params, optimizer: AdamWState, state: TrainingState): Promise<string> {
  const { mkdir, rename, rm } = await import('node:fs/promises');
  const path = `${folder}/checkpoint_${state.globalStep}`;
  const partial = `${path}.partial`;
  await rm(partial, { recursive: true, force: true });
  await mkdir(partial, { recursive: true });
  // TRL's layout has no place for an α other than the rank.
  const plain = Object.values(loraModules(unet)).every(({ scale }) => scale === 1);
  await saveLora(`${partial}/${files.adapter}`, unet, { format: plain ? 'diffusers-old' : 'diffusers' });
  await saveSafetensors(`${partial}/${files.optimizer}`, namedMoments(optimizer), { format: 'pt' });
  await writeFileAtomic(`${partial}/${files.state}`, new TextEncoder().encode(JSON.stringify(await stateRecord(partial, optimizer, state))));
  await rename(partial, path);
  return path;
}

const moments = ['exp_avg', 'exp_avg_sq'] as const;

const namedMoments = (optimizer: AdamWState): Record<string, Tensor> =>
  Object.fromEntries(moments.flatMap((moment) => Object.entries(optimizer[moment]).map(([path, value]) => [`${moment}.${path}`, value])));

async function stateRecord(folder: string, optimizer: AdamWState, { globalStep, generators, config }: TrainingState): Promise<State> {
  const sha256 = {
    [files.adapter]: await fileHash(`${folder}/${files.adapter}`),
    [files.optimizer]: await fileHash(`${folder}/${files.optimizer}`),
  } as State['sha256'];
  return { version: 1, global_step: globalStep, optimizer_step: optimizer.step, generators: generators as State['generators'], config, sha256 };
}

async function fileHash(path: string): Promise<string> {
  const [{ createHash }, { readFile }] = await Promise.all([import('node:crypto'), import('node:fs/promises')]);
  return createHash('sha256').update(await readFile(path)).digest('hex');
}

/** Steps of the complete checkpoints in a folder, oldest first; none if there is no such folder. */
export async function listCheckpoints(folder: string): Promise<readonly number[]> {
  const { readdir } = await import('node:fs/promises');
  const names = await readdir(folder).catch(() => [] as string[]);
  return names.flatMap((name) => /^checkpoint_(\d+)$/.exec(name)?.[1] ?? []).map(Number).sort((a, b) => a - b);
}

/** Deletes all but the newest checkpoints of a folder. */
export async function pruneCheckpoints(folder: string, limit: number): Promise<void> {
  await removeCheckpoints(folder, (await listCheckpoints(folder)).slice(0, -limit));
}

/** Deletes the checkpoints of these steps. */
export async function removeCheckpoints(folder: string, steps: readonly number[]): Promise<void> {
  const { rm } = await import('node:fs/promises');
  for (const step of steps) await rm(`${folder}/checkpoint_${step}`, { recursive: true, force: true });
}

/**
 * The checkpoint that `resume_from` means: itself, or the newest of the folder (or of its `checkpoints/`).
 * @throws if there is none
 */
export async function findCheckpoint(location: string): Promise<string> {
  const { stat } = await import('node:fs/promises');
  if (/(^|[\\/])checkpoint_\d+[\\/]*$/.test(location) && (await stat(location).catch(() => undefined))?.isDirectory()) return location;
  for (const folder of [location, `${location}/checkpoints`]) {
    const newest = (await listCheckpoints(folder)).at(-1);
    if (newest !== undefined) return `${folder}/checkpoint_${newest}`;
  }
  throw new Error(`resume_from: no checkpoint in '${location}', looked for checkpoint_<number> there and in checkpoints/. Give a checkpoint or the folder it is in.`);
}

/**
 * Reads a checkpoint and compares it with what is to be trained.
 * @param variables by parameter path
 * @throws an error that names the file which is missing, damaged, or made for other weights
 */
export async function readCheckpoint(path: string, variables: Readonly<Record<string, Variable>>): Promise<Checkpoint> {
  const state = await named(path, files.state, () => readState(`${path}/${files.state}`));
  for (const name of [files.adapter, files.optimizer]) {
    await named(path, name, async () => {
      if ((await fileHash(`${path}/${name}`)) !== state.sha256[name]) throw new Error('its content is not what was written (sha256 differs)');
    });
  }
  const adapter = await named(path, files.adapter, async () => (await loadLora(`${path}/${files.adapter}`)).tensors);
  const stored = await named(path, files.optimizer, async () => Object.fromEntries((await openSafetensors(directory(path), files.optimizer)).tensors));
  await named(path, files.adapter, () => checkLike(adapter, variables, ['']));
  await named(path, files.optimizer, () => checkLike(stored, variables, moments.map((moment) => `${moment}.`)));
  return {
    path,
    globalStep: state.global_step,
    generators: state.generators,
    config: state.config,
    weights: await readLike(adapter, variables, ''),
    optimizer: {
      step: state.optimizer_step,
      exp_avg: await readLike(stored, variables, 'exp_avg.'),
      exp_avg_sq: await readLike(stored, variables, 'exp_avg_sq.'),
    },
  };
}

async function named<T>(path: string, file: string, read: () => T | Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    throw new Error(`Checkpoint: cannot resume from ${path}/${file}: ${(cause as Error).message}. Resume from another checkpoint.`, { cause });
  }
}

async function readState(path: string): Promise<State> {
  const { readFile } = await import('node:fs/promises');
  const result = stateSchema.safeParse(JSON.parse(await readFile(path, 'utf8')));
  if (result.success) return result.data;
  throw new Error(result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '));
}

type Stored = Readonly<Record<string, Tensor | StoredTensor>>;
type Variables = Readonly<Record<string, Variable>>;

/** @throws one error with all that is missing, of another shape, or left over */
function checkLike(stored: Stored, variables: Variables, prefixes: readonly string[]): void {
  const expected = new Map(prefixes.flatMap((prefix) => Object.entries(variables).map(([path, variable]) => [prefix + path, variable.shape] as const)));
  const problems = [...expected].flatMap(([key, shape]) => {
    const found = stored[key];
    if (!found) return [`${key} is missing`];
    return found.shape.join() === shape.join() ? [] : [`${key} has shape [${found.shape.join(', ')}], expected [${shape.join(', ')}]`];
  });
  problems.push(...Object.keys(stored).filter((key) => !expected.has(key)).map((key) => `${key} belongs to nothing that is trained`));
  if (problems.length === 0) return;
  const rest = problems.length > 5 ? ` and ${problems.length - 5} more` : '';
  throw new Error(`it was written for another adapter or model: ${problems.slice(0, 5).join('; ')}${rest}`);
}

async function readLike(stored: Stored, variables: Variables, prefix: string): Promise<Record<string, Tensor>> {
  const read = async ([path, { shape }]: [string, Variable]) => [path, tensor(await valuesOf(stored[prefix + path]!), shape)] as const;
  return Object.fromEntries(await Promise.all(Object.entries(variables).map(read)));
}

const valuesOf = (value: Tensor | StoredTensor) => ('read' in value ? value.read() : value.data<'float32'>());
