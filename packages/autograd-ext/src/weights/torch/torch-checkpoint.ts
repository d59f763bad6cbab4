import { ADVICE, TorchFileError } from './torch-file-error.js';
import { TorchTensor } from './torch-tensor.js';

/** A value of a checkpoint that is not a tensor: a number, text or boolean. */
export type CheckpointValue = string | number | bigint | boolean;

/** The contents of a checkpoint by dotted path. */
export interface Checkpoint {
  readonly tensors: Map<string, TorchTensor>;
  readonly metadata: Map<string, CheckpointValue>;
}

// A value may contain itself, or the same list many times: the result is limited, not only the file.
const MAX_DEPTH = 64;
const MAX_ENTRIES = 2 ** 20;
const MAX_CHARACTERS = 2 ** 26;

/**
 * Flattens nested dicts and lists: returns tensors, numbers, text and booleans by dotted path,
 * `state_dict.layers.0.weight`. The path of a value that is not nested is ''. Leaves out all other values, and entries
 * whose key is not a number, text or boolean.
 * @throws TorchFileError if there is no tensor, two tensors have the same path, or nesting exceeds 64 levels
 */
export function flattenCheckpoint(value: unknown): Checkpoint {
  const checkpoint: Checkpoint = { tensors: new Map(), metadata: new Map() };
  const budget = { entries: MAX_ENTRIES, characters: MAX_CHARACTERS };

  const visit = (item: unknown, path: string, depth: number): void => {
    budget.characters -= path.length;
    if (budget.entries-- === 0)
      throw new TorchFileError(
        `the file's value got more than ${MAX_ENTRIES} entries, expected fewer.`,
        ADVICE.saveTensors,
      );
    if (budget.characters < 0)
      throw new TorchFileError(
        `the file's names got more than ${MAX_CHARACTERS} characters, expected fewer.`,
        ADVICE.saveTensors,
      );
    if (depth > MAX_DEPTH)
      throw new TorchFileError(
        `the file's value got more than ${MAX_DEPTH} nested lists or dicts, expected fewer.`,
        ADVICE.saveTensors,
      );
    const children = childrenOf(item);
    if (!children) add(checkpoint, path, item);
    else
      for (const [key, child] of children)
        if (isCheckpointValue(key)) visit(child, depth === 0 ? `${key}` : `${path}.${key}`, depth + 1);
  };

  visit(value, '', 0);
  if (!checkpoint.tensors.size)
    throw new TorchFileError('the file holds no tensors, expected a dict of them.', ADVICE.checkFile);
  return checkpoint;
}

function childrenOf(item: unknown): Iterable<readonly [unknown, unknown]> | undefined {
  if (item instanceof Map) return item as Map<unknown, unknown>;
  if (Array.isArray(item)) return item.entries();
  return undefined;
}

function add({ tensors, metadata }: Checkpoint, path: string, item: unknown): void {
  if (!(item instanceof TorchTensor)) {
    if (isCheckpointValue(item)) metadata.set(path, item);
    return;
  }
  if (tensors.has(path)) throw new TorchFileError(`the file holds two tensors called '${path}'.`, ADVICE.saveTensors);
  tensors.set(path, item);
}

const isCheckpointValue = (value: unknown): value is CheckpointValue =>
  ['string', 'number', 'bigint', 'boolean'].includes(typeof value);
