import { excerptList } from '../outside/excerpt.js';
import type { StoredTensor } from '../params.js';
import { readJson, type FileSource } from './files/file-source.js';
import { isWeightFile, openWeightFile } from './open-weight-file.js';

export interface OpenWeightsOptions {
  /** A variant of the weights, such as `fp16` for `model.fp16.safetensors`. */
  readonly variant?: string;
}

/**
 * Opens the weights of a model: one file, or the shards of an index, under the names of diffusers and transformers.
 * Prefers safetensors to files of torch (`diffusion_pytorch_model.bin`, `pytorch_model.bin`; see `openTorchFile`).
 * @param baseName `diffusion_pytorch_model` or `model`; or the name of a file: `model.safetensors`, `head.pth`,
 *   `v1-5.ckpt`
 * @throws if there are no weights (lists the names tried and the files present), or a shard or a tensor is missing
 */
export async function openWeights(
  source: FileSource,
  baseName: string,
  { variant }: OpenWeightsOptions = {},
): Promise<Map<string, StoredTensor>> {
  if (isWeightFile(baseName)) return openWeightFile(source, baseName);
  const names = [
    ...namesOf(baseName, 'safetensors', variant),
    ...namesOf(baseName === 'model' ? 'pytorch_model' : baseName, 'bin', variant),
  ];
  for (const name of names)
    if (await source.has(name)) return name.endsWith('.json') ? openShards(source, name) : openWeightFile(source, name);
  throw new Error(await explainMissing(source, names, variant));
}

/** Returns the names of the file and of its possible indices. */
function namesOf(baseName: string, extension: string, variant: string | undefined): string[] {
  const name = variant ? `${baseName}.${variant}` : baseName;
  return [
    ...new Set([
      `${name}.${extension}`,
      `${baseName}.${extension}.index${variant ? `.${variant}` : ''}.json`,
      ...(variant ? [`${baseName}.${extension}.${variant}.index.json`] : []), // diffusers before 0.31
      `${name}.${extension}.index.json`,
    ]),
  ];
}

async function openShards(source: FileSource, index: string): Promise<Map<string, StoredTensor>> {
  const weightMap = await readWeightMap(source, index);
  const shards = [...new Set(weightMap.values())].sort();
  const present = await Promise.all(shards.map((shard) => source.has(shard)));
  const absent = shards.filter((_, i) => !present[i]);
  if (absent.length)
    throw new Error(
      `openWeights: '${index}' in '${source.location}' names files that are not there: ${excerptList(absent)}. ` +
        'Download them.',
    );
  const opened = new Map(
    await Promise.all(shards.map(async (shard) => [shard, await openWeightFile(source, shard)] as const)),
  );
  const tensors = new Map<string, StoredTensor>();
  const missing: string[] = [];
  for (const [key, shard] of weightMap) {
    const tensor = opened.get(shard)!.get(key);
    if (tensor) tensors.set(key, tensor);
    else missing.push(`${key} (${shard})`);
  }
  if (missing.length)
    throw new Error(
      `openWeights: '${index}' in '${source.location}' names tensors that their files lack: ${excerptList(missing)}. ` +
        'Download the files again.',
    );
  return tensors;
}

async function readWeightMap(source: FileSource, index: string): Promise<Map<string, string>> {
  const { weight_map: weightMap } = await readJson<{ weight_map?: unknown }>(source, index);
  const entries = Object.entries((weightMap ?? {}) as Record<string, unknown>);
  const extension = index.includes('.safetensors.') ? '.safetensors' : '.bin';
  // Plain file names only: an index must not name files of other folders.
  if (
    !entries.length ||
    !entries.every(([, shard]) => typeof shard === 'string' && /^[^/\\]+$/.test(shard) && shard.endsWith(extension))
  )
    throw new Error(
      `openWeights: weight_map of '${index}' in '${source.location}' got other values, ` +
        `expected tensor names with ${extension} files of the same folder. Download it again.`,
    );
  return new Map(entries as [string, string][]);
}

async function explainMissing(
  source: FileSource,
  wanted: readonly string[],
  variant: string | undefined,
): Promise<string> {
  const present = await source.list();
  const isOther = (name: string) => name.endsWith('.json') && name !== 'config.json';
  const weights = present.filter((name) => isWeightFile(name) || isOther(name) || formatOf(name) !== undefined);
  return (
    `openWeights: no weights in '${source.location}'. Looked for ${wanted.join(', ')}; ` +
    `there is ${excerptList(weights) || 'no weight file'}. ${advice(weights, variant)}`
  );
}

function advice(present: readonly string[], variant: string | undefined): string {
  const other = present.map(variantOf).find((found) => found !== undefined && found !== (variant ?? ''));
  if (other) return `Pass variant '${other}'.`;
  if (other === '') return 'Leave out the variant.';
  const file = present.find(isWeightFile);
  if (file) return `Name the file if it is one of those: '${file}'.`;
  const format = present.map(formatOf).find((found) => found !== undefined);
  if (format) return `These are files of ${format}: take the model's safetensors, or its files for PyTorch.`;
  return 'Check the path and that the download is complete.';
}

/** The frameworks of other formats, by the extension of their files. */
const frameworks = new Map([
  ['msgpack', 'Flax'],
  ['h5', 'TensorFlow'],
  ['onnx', 'ONNX'],
  ['gguf', 'llama.cpp'],
]);

const formatOf = (name: string): string | undefined => frameworks.get(name.split('.').at(-1)!);

/** Returns the variant in the name of a weight file, '' if it has none; undefined for any other file. */
function variantOf(name: string): string | undefined {
  const match = /^[^.]+(?:\.([^.]+?))?(?:-\d{5}-of-\d{5})?\.(?:safetensors|bin)$/.exec(name);
  return match ? (match[1] ?? '') : undefined;
}
