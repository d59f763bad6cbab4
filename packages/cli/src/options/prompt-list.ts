import { excerptJson } from '@alignprop/autograd-ext/outside';
import type { TorchGenerator } from '@alignprop/autograd-ext';
import { UsageError } from '../terminal/errors.js';
import {
  hasPromptColumn,
  takeColumns,
  type ColumnOptions,
  type PromptList,
  type PromptMetadata,
  type ReadPrompts,
} from './prompt-columns.js';
import { arrayEntries, checkKind, parseEntries } from './prompt-entries.js';
import { readPromptFile } from './prompt-file.js';

/** The 45 animals that DDPO and AlignProp are usually demonstrated with; the default training prompts. */
export const simpleAnimals: readonly string[] = [
  'cat',
  'dog',
  'horse',
  'monkey',
  'rabbit',
  'zebra',
  'spider',
  'bird',
  'sheep',
  'deer',
  'cow',
  'goat',
  'lion',
  'tiger',
  'bear',
  'raccoon',
  'fox',
  'wolf',
  'lizard',
  'beetle',
  'ant',
  'butterfly',
  'fish',
  'shark',
  'whale',
  'dolphin',
  'squirrel',
  'mouse',
  'rat',
  'snake',
  'turtle',
  'frog',
  'chicken',
  'duck',
  'goose',
  'bee',
  'pig',
  'turkey',
  'fly',
  'llama',
  'camel',
  'bat',
  'gorilla',
  'hedgehog',
  'kangaroo',
];

/** The source of prompts: the path of a file, or in a configuration file also a list of texts or of objects. */
export type PromptSource = string | readonly unknown[];

/**
 * Reads prompts from a file, whose kind is told by the ending of its name, or from a list.
 * @param flag the flag or option that names the source, with which errors begin
 * @throws UsageError if the file cannot be read, is not of its kind, or has no prompt; with the line where there is one
 */
export async function readPrompts(
  source: PromptSource,
  flag: string,
  options: ColumnOptions = {},
): Promise<ReadPrompts> {
  if (typeof source === 'string') {
    checkKind(source, flag);
    const text = await readPromptFile(source, flag);
    const entries = parseEntries(source, text, flag, (header) => hasPromptColumn(header, options));
    return takeColumns(entries, flag, options);
  }
  if (Array.isArray(source))
    return takeColumns({ source: 'the list', unit: 'entry', entries: arrayEntries(source) }, flag, options);
  throw new UsageError(`${flag}: got ${excerptJson(source)}, expected a path, or a list of texts or of objects.`);
}

/** Appends one list of prompts to another. Prompts without metadata have `{}` beside those that have some. */
export function joinPrompts(a: PromptList, b: PromptList): PromptList {
  const join = <T>(of: (list: PromptList) => readonly T[] | undefined, missing: T): readonly T[] | undefined =>
    of(a) || of(b) ? [a, b].flatMap((list) => of(list) ?? list.prompts.map(() => missing)) : undefined;
  return {
    prompts: [...a.prompts, ...b.prompts],
    negativePrompts: join((list) => list.negativePrompts, undefined),
    promptMetadata: join<PromptMetadata>((list) => list.promptMetadata, {}),
    weights: join((list) => list.weights, 1),
  };
}

/** A prompt with its metadata and its negative prompt. */
type DrawnPrompt = readonly [prompt: string, metadata: PromptMetadata | undefined, negativePrompt: string | undefined];

/** Returns a function that draws prompts with replacement, in proportion to their weights. */
export function promptDrawer({
  prompts,
  promptMetadata,
  negativePrompts,
  weights,
}: PromptList): (generator: TorchGenerator) => DrawnPrompt {
  const drawIndex = weights ? weightedIndex(weights) : uniformIndex(prompts.length);
  return (generator) => {
    const i = drawIndex(generator);
    return [prompts[i]!, promptMetadata?.[i], negativePrompts?.[i]];
  };
}

const uniformIndex = (count: number) => (generator: TorchGenerator) => generator.randint(0, count, 1)[0]!;

/** Finds the first index whose cumulative weight is above a uniform number; of two floats, for 48 bits. */
function weightedIndex(weights: readonly number[]): (generator: TorchGenerator) => number {
  let total = 0;
  const cumulative = Float64Array.from(weights, (weight) => (total += weight));
  return (generator) => {
    const [high, low] = generator.rand(2);
    const target = (high! + low! * 2 ** -24) * total;
    let [first, last] = [0, weights.length - 1];
    while (first < last) {
      const middle = (first + last) >> 1;
      if (cumulative[middle]! > target) last = middle;
      else first = middle + 1;
    }
    return first;
  };
}
