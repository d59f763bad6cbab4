import type { StoredTensor } from '../params.js';
import type { FileSource } from './files/file-source.js';
import { openSafetensors } from './safetensors/open-safetensors.js';
import { openTorchFile } from './torch/open-torch-file.js';

/** Whether a file has the extension of a format that `openWeightFile` reads. */
export const isWeightFile = (path: string): boolean => /\.(safetensors|bin|ckpt|pth?)$/i.test(path);

/** Whether a file is one of safetensors by its extension, in capital or small letters. */
export const isSafetensors = (path: string): boolean => /\.safetensors$/i.test(path);

/** The contents of a file of weights. */
export interface WeightFile {
  /** The tensors; those of its `state_dict` alone in a training checkpoint. */
  readonly tensors: Map<string, StoredTensor>;
  /** The other values that it holds, such as `global_step`, by name. */
  readonly metadata: ReadonlyMap<string, string | number | bigint | boolean>;
}

/**
 * Opens a file of weights: safetensors by its extension, any other as a file of torch.save. Of a training checkpoint
 * with a `state_dict`, returns the tensors of the `state_dict` only.
 * @throws if it is missing or damaged
 */
export async function openWeightFile(source: FileSource, path: string): Promise<Map<string, StoredTensor>> {
  return (await openCheckpointFile(source, path)).tensors;
}

/** Opens a file of weights as `openWeightFile` does, with what it holds besides tensors. */
export async function openCheckpointFile(source: FileSource, path: string): Promise<WeightFile> {
  if (!isSafetensors(path)) {
    const { tensors, metadata } = await openTorchFile(source, path);
    return { tensors: stateDict(tensors), metadata };
  }
  const { tensors, metadata } = await openSafetensors(source, path);
  return { tensors: stateDict(tensors), metadata: new Map(Object.entries(metadata)) };
}

const PREFIX = 'state_dict.';

function stateDict(tensors: Map<string, StoredTensor>): Map<string, StoredTensor> {
  const entries = [...tensors].filter(([name]) => name.startsWith(PREFIX));
  return entries.length ? new Map(entries.map(([name, tensor]) => [name.slice(PREFIX.length), tensor])) : tensors;
}
