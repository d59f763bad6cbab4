import {
  directory,
  hub,
  resolveSource,
  subfolder,
  type FileSource,
  type HubOptions,
} from '@alignprop/autograd-ext/weights';
import { list } from '../modules.js';

/** A file of an adapter and the folder or repository that holds it. */
export interface LoraFile {
  readonly source: FileSource;
  /** Its path within the source. */
  readonly file: string;
}

/** Names of LoRA files, in the order of preference. The only file of weights of a folder may have any name. */
const fileNames = [
  'pytorch_lora_weights.safetensors',
  'adapter_model.safetensors',
  'pytorch_lora_weights.bin',
  'adapter_model.bin',
] as const;

const isWeights = (name: string): boolean => /\.(?:safetensors|bin|pth?|ckpt)$/.test(name);
/** Whether a file belongs to a training run, as diffusers' and transformers' scripts name theirs. */
const isState = (name: string): boolean => /optimizer|scheduler|training_args|random_states|scaler/.test(name);

/**
 * Finds the file of an adapter.
 * @param source a file, a folder, a hub id, `org/name/path` for a file or folder of a repository, or a `FileSource`
 * @param file the file's path within the source
 * @throws if there is no such file, or several and none of `fileNames`; the message lists them
 */
export async function findLoraFile(
  source: string | FileSource,
  { file, ...options }: { file?: string } & HubOptions,
): Promise<LoraFile> {
  if (typeof source !== 'string') return findIn(source, source.location, file);
  const local = localFile(source);
  if (await local.source.has(local.file)) return checkWeights(local);
  const folder = await resolveSource(source, options).catch((error: unknown) => error as Error);
  if (!(folder instanceof Error)) return findIn(folder, source, file);
  const [, id, path] = isPath(source) ? [] : (/^([^/\\]+\/[^/\\]+)\/(.+)$/.exec(source) ?? []);
  if (!id || !path) return isWeights(source) ? local : Promise.reject(folder); // opening it says that there is no file
  const repository = hub(id, options);
  return isWeights(path) ? { source: repository, file: path } : findIn(subfolder(repository, path), source, file);
}

/** Whether a location is a path of this machine by its beginning. */
const isPath = (source: string): boolean => /^(?:[./\\~]|[A-Za-z]:)/.test(source);

function localFile(path: string): LoraFile {
  const [, folder = '.', file = path] = /^(.*)[\\/]([^\\/]+)$/.exec(path) ?? [];
  return { source: directory(folder || '/'), file };
}

function checkWeights(loraFile: LoraFile): LoraFile {
  if (isWeights(loraFile.file)) return loraFile;
  throw new Error(
    `loadLora: source got the file '${loraFile.source.location}/${loraFile.file}', ` +
      'expected one that ends in .safetensors, .bin, .pt, .pth or .ckpt.',
  );
}

async function findIn(source: FileSource, location: string, file: string | undefined): Promise<LoraFile> {
  if (file !== undefined) return { source, file };
  const names = (await source.list()).filter((name) => isWeights(name) && !isState(name));
  const safetensors = names.filter((name) => name.endsWith('.safetensors'));
  const candidates = safetensors.length > 0 ? safetensors : names;
  const name =
    fileNames.find((known) => names.includes(known)) ?? (candidates.length === 1 ? candidates[0] : undefined);
  if (name) return { source, file: name };
  const advice =
    candidates.length > 1
      ? `Name one of them with its path, ${location}/${candidates[0]}.`
      : 'Check the path and that the download is complete.';
  throw new Error(
    `loadLora: the adapter in '${location}' got ${list(candidates) || 'no file of weights'}, ` +
      `expected one file or one called ${list(fileNames)}. ${advice}`,
  );
}
