import { nearestName } from '@alignprop/autograd-ext';

/**
 * Returns the name that was meant: the one that another program's name stands for, one that begins with what was
 * written or has all its words, or the nearest. Undefined if none is near.
 * @param names in kebab case
 * @param others other programs' names, and for each the names that may be meant, the likeliest first
 */
export function meantName(
  written: string,
  names: readonly string[],
  others: Readonly<Record<string, readonly string[]>>,
): string | undefined {
  const name = written.toLowerCase().replaceAll('_', '-');
  const known = Object.hasOwn(others, name) ? others[name]!.find((candidate) => names.includes(candidate)) : undefined;
  return known ?? beginning(name, names) ?? nearest(name, names) ?? withAllWords(name, names);
}

/** Returns the nearest name. Two letters or fewer are near to every short name, and say nothing. */
const nearest = (name: string, names: readonly string[]): string | undefined =>
  name.length > 2 ? nearestName(name, names) : undefined;

const beginning = (name: string, names: readonly string[]): string | undefined =>
  name.length >= 3 ? names.find((candidate) => candidate.startsWith(name)) : undefined;

/** Returns the shortest name that has all words of the written one, such as `train-batch-size` for `batch-size`. */
function withAllWords(name: string, names: readonly string[]): string | undefined {
  const words = name.split('-');
  const [shortest] = names
    .filter((candidate) => words.every((word) => candidate.split('-').includes(word)))
    .sort((a, b) => a.length - b.length);
  return shortest;
}
