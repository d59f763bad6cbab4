import { readFile } from 'node:fs/promises';
import { UsageError } from '../terminal/errors.js';

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

/**
 * Reads the prompts of a file, one a line; skips empty lines and lines that start with #.
 * @throws UsageError if the file cannot be read or has no prompt
 */
export async function readPrompts(path: string): Promise<readonly string[]> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new UsageError(
      `prompts: cannot read '${path}': ${(cause as Error).message}. Give a text file with one prompt a line.`,
      { cause },
    );
  });
  const prompts = text
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
  if (prompts.length > 0) return prompts;
  throw new UsageError(`prompts: '${path}' has no prompt, expected one a line.`);
}
