import type { StoredTensor } from '../params.js';
import type { FileSource } from './files/file-source.js';
import { openSafetensors } from './safetensors/open-safetensors.js';
import { openTorchFile } from './torch/open-torch-file.js';

/** Whether a file's name says that it holds weights in a format that is read here. */
export const isWeightFile = (path: string): boolean => /\.(safetensors|bin|ckpt|pth?)$/.test(path);

/**
 * Opens one file of weights, whatever its format: safetensors by the ending, else one that torch.save wrote. Of a
 * training checkpoint, its `state_dict` alone.
 * @throws if it is missing or broken
 */
export async function openWeightFile(source: FileSource, path: string): Promise<Map<string, StoredTensor>> {
  const open = path.endsWith('.safetensors') ? openSafetensors : openTorchFile;
  return stateDict((await open(source, path)).tensors);
}

const PREFIX = 'state_dict.';

function stateDict(tensors: Map<string, StoredTensor>): Map<string, StoredTensor> {
  const inside = [...tensors].filter(([name]) => name.startsWith(PREFIX));
  return inside.length ? new Map(inside.map(([name, tensor]) => [name.slice(PREFIX.length), tensor])) : tensors;
}
