import { join } from 'node:path';
import { readFile } from 'node:fs/promises';

/** The categories that the embedded model was trained on last, and draws best. */
const categories = ['Animals & Nature', 'Food & Drink'];

/** Reads the names of the emoji that the embedded model draws best, as its captions have them. */
export async function emojiNames(folder: string): Promise<readonly string[]> {
  const emoji = JSON.parse(await readFile(join(folder, 'emoji.json'), 'utf8')) as readonly Emoji[];
  const known = emoji.filter(({ category }) => categories.includes(category));
  const names = known.flatMap(({ name, short_names }) => [name, ...short_names]);
  return [...new Set(names.map((name) => name.toLowerCase().replaceAll(/[-_]/g, ' ')))];
}

interface Emoji {
  readonly name: string;
  readonly short_names: readonly string[];
  readonly category: string;
}
