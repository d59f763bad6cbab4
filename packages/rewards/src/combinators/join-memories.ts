import { excerptList } from '@alignprop/autograd-ext/outside';
import type { RewardMemory } from '../reward.js';

/** A part of a combination, with its memory if it has one. */
export interface PartMemory {
  readonly name: string;
  readonly memory?: RewardMemory;
  /** The names that the part gives its terms. */
  readonly terms: readonly string[];
  /** The names that the combination gives them. */
  readonly renamed: readonly string[];
}

/** Joins the memories of the parts and of the combination itself; undefined if none of them has one. */
export function joinMemories(
  owner: string,
  parts: readonly PartMemory[],
  own?: RewardMemory,
): RewardMemory | undefined {
  const memories = parts.filter((part): part is PartMemory & { memory: RewardMemory } => part.memory !== undefined);
  if (memories.length === 0) return own;
  return {
    observe: (terms) => {
      for (const { memory, terms: inner, renamed } of memories)
        memory.observe(Object.fromEntries(inner.map((term, i) => [term, terms[renamed[i]!]!])));
      own?.observe(terms);
    },
    state: () => ({
      ...(own && { own: own.state() }),
      parts: Object.fromEntries(memories.map(({ name, memory }) => [name, memory.state()])),
    }),
    restore: (state) => {
      const joined = checkState(
        owner,
        state,
        memories.map(({ name }) => name),
        own !== undefined,
      );
      restoreAll([
        ...memories.map(({ name, memory }) => [memory, joined.parts[name]] as const),
        ...(own ? [[own, joined.own] as const] : []),
      ]);
    },
  };
}

interface JoinedState {
  readonly own?: unknown;
  readonly parts: Readonly<Record<string, unknown>>;
}

function checkState(owner: string, state: unknown, names: readonly string[], hasOwn: boolean): JoinedState {
  const { parts } = (state ?? {}) as Partial<JoinedState>;
  const found = typeof parts === 'object' && parts !== null ? Object.keys(parts) : [];
  const fits =
    found.length === names.length &&
    names.every((name) => found.includes(name)) &&
    hasOwn === 'own' in (state as object);
  if (fits) return state as JoinedState;
  throw new Error(
    `${owner}: state got one of the parts [${excerptList(found)}], expected [${names.join(', ')}]. ` +
      'It was written for another reward.',
  );
}

/** Restores every memory. If one fails, sets all of them back to their previous states. */
function restoreAll(states: readonly (readonly [RewardMemory, unknown])[]): void {
  const before = states.map(([memory]) => memory.state());
  try {
    for (const [memory, state] of states) memory.restore(state);
  } catch (error) {
    states.forEach(([memory], i) => memory.restore(before[i]));
    throw error;
  }
}
