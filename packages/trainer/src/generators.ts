import { random, type GeneratorState, type TorchGenerator } from '@alignprop/autograd-ext';

const names = ['adapter', 'prompts', 'noise', 'plan'] as const;

/** One generator for each thing that is drawn, so that drawing more of one does not change another. */
export type Generators = Readonly<Record<(typeof names)[number], TorchGenerator>>;

export function seededGenerators(seed: number): Generators {
  const seeds = random(seed).randint(0, 2 ** 31 - 1, names.length);
  return Object.fromEntries(names.map((name, i) => [name, random(seeds[i]!)])) as Generators;
}

export type GeneratorStates = Readonly<Record<string, GeneratorState>>;

export const saveGenerators = (generators: Generators): GeneratorStates =>
  Object.fromEntries(Object.entries(generators).map(([name, generator]) => [name, generator.getState()]));

/** @throws if a state is missing */
export function restoreGenerators(generators: Generators, states: GeneratorStates): void {
  for (const [name, generator] of Object.entries(generators)) {
    if (!states[name]) throw new Error(`restoreGenerators: no state for '${name}', got ${Object.keys(states).join(', ') || 'none'}.`);
    generator.setState(states[name]);
  }
}
