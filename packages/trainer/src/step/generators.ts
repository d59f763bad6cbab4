import { excerptList } from '@alignprop/autograd-ext/outside';
import { random, type GeneratorState, type TorchGenerator } from '@alignprop/autograd-ext';

const names = ['adapter', 'prompts', 'noise', 'plan', 'data'] as const;

/** One generator per purpose, so that drawing more for one purpose does not change the draws for another. */
export type Generators = Readonly<Record<(typeof names)[number], TorchGenerator>>;

/**
 * The generators of a process: all ranks draw the same adapter from `seed`, and everything else from seed + rank, as
 * accelerate's device-specific seeds do.
 */
export const seededGenerators = (seed: number, rank = 0): Generators => ({
  ...seeded(seed + rank),
  adapter: seeded(seed).adapter,
});

function seeded(seed: number): Generators {
  const seeds = random(seed).randint(0, 2 ** 31 - 1, names.length);
  return Object.fromEntries(names.map((name, i) => [name, random(seeds[i]!)])) as Generators;
}

export type GeneratorStates = Readonly<Record<string, GeneratorState>>;

export const saveGenerators = (generators: Generators): GeneratorStates =>
  Object.fromEntries(Object.entries(generators).map(([name, generator]) => [name, generator.getState()]));

/** @throws if a state is missing */
export function restoreGenerators(generators: Generators, states: GeneratorStates): void {
  for (const [name, generator] of Object.entries(generators)) {
    if (!states[name])
      throw new Error(`restoreGenerators: no state for '${name}', got ${excerptList(Object.keys(states)) || 'none'}.`);
    generator.setState(states[name]);
  }
}

/**
 * Restores the generators of a process from a checkpoint.
 * @param ranks the states of all processes of the resumed run
 * @returns a warning if the draws will differ from those of an uninterrupted run
 */
export function restoreRank(
  generators: Generators,
  ranks: readonly GeneratorStates[],
  { rank, size }: { rank: number; size: number },
): string | undefined {
  const states = ranks[rank];
  if (states) restoreGenerators(generators, states);
  if (ranks.length === size) return undefined;
  return (
    `The checkpoint was written by ${processes(ranks.length)}, it is resumed by ${processes(size)}: ` +
    'a step has another number of images, and what is drawn differs from here on.'
  );
}

const processes = (count: number): string => (count === 1 ? '1 process' : `${count} processes`);
