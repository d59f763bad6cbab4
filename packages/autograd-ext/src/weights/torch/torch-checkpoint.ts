import { TorchFileError } from './torch-file-error.js';
import { TorchTensor } from './torch-globals.js';

/** A number or text that a checkpoint holds beside its tensors. */
export type CheckpointValue = string | number | bigint | boolean;

/** A checkpoint's value, flat. */
export interface Checkpoint {
  readonly tensors: Map<string, TorchTensor>;
  readonly metadata: Map<string, CheckpointValue>;
}

// A value may hold itself or the same list many times over: what comes out is limited, not only what is in the file.
const MAX_DEPTH = 64;
const MAX_ENTRIES = 2 ** 20;
const MAX_CHARACTERS = 2 ** 26;
const ADVICE = 'Save the tensors alone: torch.save(module.state_dict(), path).';

/**
 * The tensors, and the numbers and text, of nested dicts and lists by dotted path: `state_dict.layers.0.weight`. A
 * value alone has the path ''. Other values, and what has other keys than numbers, text and booleans, are left out.
 * @throws TorchFileError if there is no tensor, two have the same path, or it nests deeper than 64 levels
 */
export function flattenCheckpoint(value: unknown): Checkpoint {
  const checkpoint: Checkpoint = { tensors: new Map(), metadata: new Map() };
  const budget = { entries: MAX_ENTRIES, characters: MAX_CHARACTERS };

  const visit = (item: unknown, path: string, depth: number): void => {
    budget.characters -= path.length;
    if (budget.entries-- === 0)
      throw new TorchFileError(`the file's value got more than ${MAX_ENTRIES} entries, expected fewer.`, ADVICE);
    if (budget.characters < 0)
      throw new TorchFileError(`the file's names got more than ${MAX_CHARACTERS} characters, expected fewer.`, ADVICE);
    if (depth > MAX_DEPTH)
      throw new TorchFileError(
        `the file's value got more than ${MAX_DEPTH} nested lists or dicts, expected fewer.`,
        ADVICE,
      );
    const children = childrenOf(item);
    if (!children) add(checkpoint, path, item);
    else
      for (const [key, child] of children)
        if (isKey(key)) visit(child, depth === 0 ? `${key}` : `${path}.${key}`, depth + 1);
  };

  visit(value, '', 0);
  if (!checkpoint.tensors.size)
    throw new TorchFileError('the file holds no tensors, expected a dict of them.', 'Check that it is a checkpoint.');
  return checkpoint;
}

function childrenOf(item: unknown): Iterable<readonly [unknown, unknown]> | undefined {
  if (item instanceof Map) return item as Map<unknown, unknown>;
  if (Array.isArray(item)) return item.entries();
  return undefined;
}

function add({ tensors, metadata }: Checkpoint, path: string, item: unknown): void {
  if (!(item instanceof TorchTensor)) {
    if (isKey(item)) metadata.set(path, item);
    return;
  }
  if (tensors.has(path)) throw new TorchFileError(`the file holds two tensors called '${path}'.`, ADVICE);
  tensors.set(path, item);
}

const isKey = (value: unknown): value is CheckpointValue =>
  ['string', 'number', 'bigint', 'boolean'].includes(typeof value);
