import { excerptList } from '../outside/excerpt.js';
import { directory } from './files/directory.js';
import { subfolder, type FileSource } from './files/file-source.js';
import { ifPresent } from '../if-present.js';
import { hub } from './hub/hub.js';
import type { HubOptions } from './hub/hub-settings.js';
import { isSafetensors, isWeightFile } from './open-weight-file.js';
import { resolveSource } from './resolve-source.js';

/** Options of `findWeightFile`; those of the hub are used for a repository. */
export interface FindWeightFileOptions extends HubOptions {
  /** The function that looks for the file, for error messages. */
  readonly owner: string;
  /** The names that such files usually have, in the order of preference. */
  readonly names: readonly string[];
  /** The path of the file within a folder or repository. */
  readonly file?: string;
}

/** A file of weights, and the folder or repository that holds it. */
export interface WeightFile {
  readonly source: FileSource;
  /** Its path within the source. */
  readonly file: string;
}

/**
 * Finds a single file of weights, such as an embedding.
 * @param location a file, a folder, a hub id, a path of a repository such as `organisation/name/file.pt`, or a
 *   `FileSource`. A folder's only file of weights, or of safetensors, may have any name; the states of optimizers and
 *   schedulers do not count.
 * @throws if there is no such file, it has another extension, or there are several and none of the usual names; lists
 *   them
 */
export async function findWeightFile(
  location: string | FileSource,
  { owner, names, file, ...options }: FindWeightFileOptions,
): Promise<WeightFile> {
  if (typeof location === 'string') {
    const found = await findByPath(location, options);
    if (found) return found;
    await checkExtension(location, owner);
  }
  const source = await resolveSource(await folderOf(location, options), options);
  if (file !== undefined) return { source, file };
  const files = (await source.list()).filter(isTrained);
  const safetensors = files.filter(isSafetensors);
  const present = safetensors.length === 1 ? safetensors : files; // the others are copies of it
  const name = names.find((known) => files.includes(known)) ?? (present.length === 1 ? present[0] : undefined);
  if (name !== undefined) return { source, file: name };
  const below = present.length ? [] : await filesBelow(source.location);
  const [example] = [...present, ...below];
  const advice = example
    ? `Name one ${present.length ? 'of them' : 'in its folders'} with its path: '${source.location}/${example}'.`
    : 'Check the path and that the download is complete.';
  throw new Error(
    `${owner}: '${source.location}' got ${excerptList(present) || 'no file of weights'}, ` +
      `expected one file of weights, or one called ${names.join(' or ')}. ${advice}`,
  );
}

/** Whether a file is the state of a training run, by the names that accelerate and transformers give theirs. */
const isTrainingState = (name: string): boolean =>
  /^(?:optimizer|scheduler|scaler|training_args|random_states)[\w-]*\.\w+$/.test(name);

/** Whether a file holds trained weights, by its name. */
const isTrained = (name: string): boolean => isWeightFile(name) && !isTrainingState(name);

/** Lists the files of weights in the folders of a folder on this machine: `checkpoint-500/model.safetensors`. */
async function filesBelow(location: string): Promise<string[]> {
  const { readdir } = await import('node:fs/promises');
  const entries = (await ifPresent(readdir(location, { withFileTypes: true }))) ?? [];
  const folders = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  const files = await Promise.all(
    folders.sort().map(async (name) => (await directory(location).list(name)).map((file) => `${name}/${file}`)),
  );
  return files.flat().filter((path) => isTrained(path.replace(/^.*\//, '')));
}

/** A path within a repository on the hub: its id and the rest. */
const HUB_PATH = /^(\w[\w.-]*\/\w[\w.-]*)\/(.+)$/;

/** Finds a file by its extension, on this machine or, if it is not there, in a repository. */
async function findByPath(location: string, options: HubOptions): Promise<WeightFile | undefined> {
  if (!isWeightFile(location)) return undefined;
  const [, folder = '.', file = location] = /^(.*)[\\/]([^\\/]+)$/.exec(location) ?? [];
  const [, id, path] = HUB_PATH.exec(location) ?? [];
  const isHere = id === undefined || (await exists(location));
  return isHere ? { source: directory(folder || '/'), file } : { source: hub(id, options), file: path! };
}

/** @throws if a location is a file on this machine, whose extension is none of weights */
async function checkExtension(location: string, owner: string): Promise<void> {
  const { stat } = await import('node:fs/promises');
  const entry = await ifPresent(stat(location));
  if (!entry || entry.isDirectory()) return;
  throw new Error(
    `${owner}: location got the file '${location}', ` +
      'expected one that ends in .safetensors, .bin, .pt, .pth or .ckpt. ' +
      'If it is a file of weights, give it the name of its format.',
  );
}

/** Returns a folder of a repository as a source, and any other location as it is. */
async function folderOf(location: string | FileSource, options: HubOptions): Promise<string | FileSource> {
  if (typeof location !== 'string') return location;
  const [, id, path] = HUB_PATH.exec(location) ?? [];
  return id === undefined || (await exists(location)) ? location : subfolder(hub(id, options), path!);
}

async function exists(path: string): Promise<boolean> {
  const { stat } = await import('node:fs/promises');
  return (await ifPresent(stat(path))) !== undefined;
}
