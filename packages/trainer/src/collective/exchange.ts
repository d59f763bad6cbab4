import { parseJson } from '@alignprop/autograd-ext/outside';
import { NonFiniteError } from '../optim/non-finite.js';
import type { Collective } from './collective.js';

/**
 * Gathers a value from every rank, in the order of ranks. Values travel as JSON.
 * @param at names the place in the program. Ranks at different places would misread each other's values
 * @throws if not all ranks are at the same place
 */
export async function exchange<T>(collective: Collective, at: string, value: T): Promise<readonly T[]> {
  const { rank, size } = collective;
  if (size === 1) return [value];
  const bytes = await collective.gather(new TextEncoder().encode(JSON.stringify({ at, value })));
  const messages = bytes.map((text) => parseJson(new TextDecoder().decode(text)) as { at: string; value: T });
  const other = messages.findIndex((message) => message.at !== at);
  if (other < 0) return messages.map((message) => message.value);
  throw new Error(
    `Collective: rank ${rank} is at ${at}, rank ${other} at ${messages[other]!.at}, ` +
      'expected all ranks at one place. Leave the training loop, or save checkpoints, on all ranks alike.',
  );
}

/** Gathers float64 numbers from all ranks, in the order of ranks. Counts may differ. */
export async function gatherNumbers(collective: Collective, numbers: Float64Array): Promise<readonly Float64Array[]> {
  if (collective.size === 1) return [numbers];
  const all = await collective.gather(new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength));
  // A copy: a Float64Array has to begin at a multiple of 8 in its buffer
  return all.map((bytes) => new Float64Array(Uint8Array.from(bytes).buffer));
}

/** Thrown on this rank when another rank was asked to stop: the run ends on all ranks. */
export class StoppedElsewhere extends Error {
  override readonly name = 'StoppedElsewhere';
}

/** How the work of one rank ended. */
interface Outcome {
  isStopped: boolean;
  /** The message of its NonFiniteError. */
  nonFinite?: string;
}

/**
 * Called by each rank after work of its own: resolves only if the work succeeded on all ranks.
 * @param failure what the work threw on this rank; undefined if it succeeded
 * @throws on all ranks, if any was stopped by its signal: that rank the signal's reason, the others StoppedElsewhere;
 *   on all ranks, if any found a value that is not finite: NonFiniteError with the messages of those ranks; on this
 *   rank alone, at once: any other failure, after which the caller calls `Collective.abort`
 */
export async function agree(collective: Collective, at: string, failure: unknown, signal?: AbortSignal): Promise<void> {
  const isStopped = signal?.aborted === true && failure === signal.reason;
  const isShared = failure === undefined || isStopped || failure instanceof NonFiniteError;
  if (!isShared || (collective.size === 1 && failure !== undefined)) throw failure as Error;
  const outcomes = await exchange<Outcome>(collective, at, {
    isStopped,
    nonFinite: failure instanceof NonFiniteError ? failure.message : undefined,
  });
  if (isStopped) throw shared(failure as Error);
  const rank = outcomes.findIndex((outcome) => outcome.isStopped);
  if (rank >= 0) throw shared(new StoppedElsewhere(`rank ${rank} was asked to stop`));
  const messages = outcomes.flatMap(({ nonFinite }, i) => (nonFinite === undefined ? [] : `on rank ${i} ${nonFinite}`));
  if (messages.length > 0) throw shared(new NonFiniteError(messages.join(' ')));
}

/**
 * Does work on rank 0 while the other ranks wait. Resolves to its result on all ranks; the result travels as JSON.
 * @throws as `agree`
 */
export async function byRankZero<T>(
  collective: Collective,
  at: string,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  let failure: unknown;
  const result = collective.rank === 0 ? await work().catch((error: unknown) => void (failure = error)) : undefined;
  await agree(collective, at, failure, signal);
  return (await exchange(collective, at, result as T))[0]!;
}

const sharedErrors = new WeakSet<object>();

/** Marks an error that all ranks throw, after which no rank waits for another. */
export function shared<E>(error: E): E {
  // The reason of an AbortSignal may be any value.
  if (typeof error === 'object' && error !== null) sharedErrors.add(error);
  return error;
}

/** Whether `shared` marked the error or its cause. */
export const isShared = (error: unknown): boolean =>
  typeof error === 'object' && error !== null && (sharedErrors.has(error) || isShared((error as Partial<Error>).cause));
