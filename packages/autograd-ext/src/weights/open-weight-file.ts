import type { StoredTensor } from '../params.js';
import type { FileSource } from './files/file-source.js';
import { openSafetensors } from './safetensors/open-safetensors.js';
import { openTorchFile } from './torch/open-torch-file.js';

/** Whether a file has the extension of a format that `openWeightFile` reads. */
export const isWeightFile = (path: string): boolean => /\.(safetensors|bin|ckpt|pth?)$/i.test(path);

/** Whether a file is one of safetensors by its extension, in capital or small letters. */
export const isSafetensors = (path: string): boolean => /\.safetensors$/i.test(path);

/**
 * Opens a file of weights: safetensors by its extension, any other as a file of torch.save. Of a training checkpoint
 * with a `state_dict`, returns the tensors of the `state_dict` only.
 * @throws if it is missing or damaged
 */
export async function openWeightFile(source: FileSource, path: string): Promise<Map<string, StoredTensor>> {
  const open = isSafetensors(path) ? openSafetensors : openTorchFile;
  return stateDict((await open(source, path)).tensors);
}

const PREFIX = 'state_dict.';

function stateDict(tensors: Map<string, StoredTensor>): Map<string, StoredTensor> {
  const entries = [...tensors].filter(([name]) => name.startsWith(PREFIX));
  return entries.length ? new Map(entries.map(([name, tensor]) => [name.slice(PREFIX.length), tensor])) : tensors;
}
