/**
 * Describes values that differ between ranks: `a on ranks 0, 2-4; b on rank 1`.
 * @param values the value of each rank, in the order of ranks
 */
export const describeByRank = (values: readonly string[]): string =>
  [...ranksByValue(values)].map(([value, ranks]) => `${value} on ${rankNames(ranks)}`).join(', ');

/** Groups ranks by their value, in the order of each value's first rank. */
export function ranksByValue(values: readonly string[]): ReadonlyMap<string, readonly number[]> {
  const groups = new Map<string, number[]>();
  for (const [rank, value] of values.entries()) groups.set(value, [...(groups.get(value) ?? []), rank]);
  return groups;
}

/** Names ranks, runs of three or more as a range: `rank 1`, `ranks 0, 2-4`. */
export function rankNames(ranks: readonly number[]): string {
  const runs: [first: number, last: number][] = [];
  for (const rank of ranks) {
    const run = runs.at(-1);
    if (run && run[1] === rank - 1) run[1] = rank;
    else runs.push([rank, rank]);
  }
  const names = runs.flatMap(([first, last]) => {
    if (last === first) return [`${first}`];
    return last === first + 1 ? [`${first}`, `${last}`] : [`${first}-${last}`];
  });
  return `rank${ranks.length > 1 ? 's' : ''} ${names.join(', ')}`;
}
