import { NonFiniteError } from '../optim/non-finite.js';
import type { Collective } from './collective.js';

/**
 * What every rank has to say, in the order of ranks. It has to survive JSON.
 * @param at where in the program: ranks that are at different places would take each other's words for something else
 * @throws if not all are there
 */
export async function exchange<T>(collective: Collective, at: string, value: T): Promise<readonly T[]> {
  const { rank, size } = collective;
  if (size === 1) return [value];
  const bytes = await collective.gather(new TextEncoder().encode(JSON.stringify({ at, value })));
  const said = bytes.map((text) => JSON.parse(new TextDecoder().decode(text)) as { at: string; value: T });
  const other = said.findIndex((one) => one.at !== at);
  if (other < 0) return said.map((one) => one.value);
  throw new Error(
    `Collective: rank ${rank} is at ${at}, rank ${other} at ${said[other]!.at}, expected all ranks at one place. Leave the training loop, or save checkpoints, on all ranks alike.`,
  );
}

/** The numbers of all ranks, in their order; of any counts. */
export async function gatherNumbers(collective: Collective, numbers: Float64Array): Promise<readonly Float64Array[]> {
  if (collective.size === 1) return [numbers];
  const all = await collective.gather(new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength));
  return all.map((bytes) => new Float64Array(bytes.slice().buffer)); // a copy of its own begins where numbers may
}

/** Thrown where another rank was asked to stop, and this one was not: its run ends like theirs. */
export class StoppedElsewhere extends Error {
  override readonly name = 'StoppedElsewhere';
}

/** How a rank's own work ended. */
interface Outcome {
  stopped: boolean;
  nonFinite?: string;
}

/**
 * Goes on only if all ranks can, after each has done work of its own.
 * @param failure what that work threw on this rank, if it did
 * @throws on all ranks alike the signal's reason, or StoppedElsewhere, if any rank's work ended with that;
 *   NonFiniteError, with the words of all ranks, if any rank's did. On this rank alone whatever else its work threw, at
 *   once: `Collective.abort` is for that
 */
export async function agree(collective: Collective, at: string, failure: unknown, signal?: AbortSignal): Promise<void> {
  const stopped = signal?.aborted === true && failure === signal.reason;
  const isShared = failure === undefined || stopped || failure instanceof NonFiniteError;
  if (!isShared || (collective.size === 1 && failure !== undefined)) throw failure as Error;
  const outcomes = await exchange<Outcome>(collective, at, {
    stopped,
    nonFinite: failure instanceof NonFiniteError ? failure.message : undefined,
  });
  if (stopped) throw shared(failure as Error);
  const rank = outcomes.findIndex((outcome) => outcome.stopped);
  if (rank >= 0) throw shared(new StoppedElsewhere(`rank ${rank} was asked to stop`));
  const told = outcomes.flatMap(({ nonFinite }, i) => (nonFinite === undefined ? [] : `on rank ${i} ${nonFinite}`));
  if (told.length > 0) throw shared(new NonFiniteError(told.join(' ')));
}

/**
 * What rank 0 makes of work that it alone does while the others wait. It has to survive JSON.
 * @throws as `agree`
 */
export async function byRankZero<T>(
  collective: Collective,
  at: string,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  let failure: unknown;
  const made = collective.rank === 0 ? await work().catch((error: unknown) => void (failure = error)) : undefined;
  await agree(collective, at, failure, signal);
  return (await exchange(collective, at, made as T))[0]!;
}

const sharedErrors = new WeakSet<object>();

/** Marks an error that all ranks throw: none of them waits for another. */
export function shared<E>(error: E): E {
  if (typeof error === 'object' && error !== null) sharedErrors.add(error); // an abort's reason may be anything
  return error;
}

export const isShared = (error: unknown): boolean =>
  typeof error === 'object' && error !== null && (sharedErrors.has(error) || isShared((error as Partial<Error>).cause));
