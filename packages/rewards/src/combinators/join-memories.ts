import type { RewardMemory } from '../reward.js';

/** A part of a combination, which knows its terms by other names than the combination does. */
export interface Remembering {
  readonly name: string;
  readonly memory?: RewardMemory;
  readonly terms: readonly string[];
  readonly renamed: readonly string[];
}

/** One memory for a combination's own and those of its parts; none if nobody has any. */
export function joinMemories(
  owner: string,
  parts: readonly Remembering[],
  own?: RewardMemory,
): RewardMemory | undefined {
  const remembering = parts.filter((part): part is Remembering & { memory: RewardMemory } => part.memory !== undefined);
  if (remembering.length === 0) return own;
  return {
    observe: (terms) => {
      for (const { memory, terms: inner, renamed } of remembering)
        memory.observe(Object.fromEntries(inner.map((term, i) => [term, terms[renamed[i]!]!])));
      own?.observe(terms);
    },
    state: () => ({
      ...(own && { own: own.state() }),
      parts: Object.fromEntries(remembering.map(({ name, memory }) => [name, memory.state()])),
    }),
    restore: (state) => {
      const given = checkState(
        owner,
        state,
        remembering.map(({ name }) => name),
        own !== undefined,
      );
      restoreAll([
        ...remembering.map(({ name, memory }) => [memory, given.parts[name]] as const),
        ...(own ? [[own, given.own] as const] : []),
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
    `${owner}: state got one of the parts [${found.join(', ')}], expected [${names.join(', ')}]. It was written for another reward.`,
  );
}

/** All or none. */
function restoreAll(states: readonly (readonly [RewardMemory, unknown])[]): void {
  const before = states.map(([memory]) => memory.state());
  try {
    for (const [memory, state] of states) memory.restore(state);
  } catch (error) {
    states.forEach(([memory], i) => memory.restore(before[i]));
    throw error;
  }
}
