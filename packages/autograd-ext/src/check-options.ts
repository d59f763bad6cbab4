/**
 * Refuses options that a function does not have, so that `num_inference_steps` in place of `numInferenceSteps` does not
 * silently leave a default. An option that is undefined counts as absent.
 * @param owner the function, for the error
 * @param names all options of the function; see `optionNames`
 * @throws if an option has another name; says which one is meant
 */
export function checkOptions(owner: string, options: object, names: readonly string[]): void {
  const unknown = Object.entries(options).filter(([name, value]) => value !== undefined && !names.includes(name));
  if (unknown.length === 0) return;
  const list = unknown.map(([name]) => `unknown option '${name}'.${suggestName(name, names)}`).join(' ');
  throw new Error(`${owner}: ${list} The options are ${names.join(', ')}.`);
}

/** Returns the names of the options of type `O`; TypeScript checks that none is missing. */
export const optionNames = <O extends object>(names: Readonly<Record<keyof O, true>>): readonly string[] =>
  Object.keys(names);

/** Returns ` Did you mean '…'?` with the nearest of the names; '' if none is near. */
export function suggestName(written: string, names: Iterable<string>): string {
  const name = nearestName(written, names);
  return name === undefined ? '' : ` Did you mean '${name}'?`;
}

/**
 * Returns the nearest of the names, or one that ends with what was written, such as `train_learning_rate` for
 * `learning_rate`; undefined if none is near.
 */
export function nearestName(written: string, names: Iterable<string>): string | undefined {
  const all = [...names];
  const [nearest] = all
    .map((name) => ({ name, distance: editDistance(written, name) }))
    .sort((a, b) => a.distance - b.distance);
  const isNear = nearest && nearest.distance <= Math.max(2, written.length / 3);
  return isNear ? nearest.name : all.find((candidate) => candidate.endsWith(`_${written}`));
}

/** The Levenshtein distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length]!;
}
