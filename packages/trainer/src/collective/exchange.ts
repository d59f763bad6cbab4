import { parseJson } from '@alignprop/autograd-ext/outside';
import { NonFiniteError } from '../optim/non-finite.js';
import type { Collective } from './collective.js';
import { describeByRank, rankNames, ranksByValue } from './rank-groups.js';

/**
 * Gathers a value from every rank, in the order of ranks. Values travel as JSON.
 * @param at names the place in the program. Ranks at different places would misread each other's values
 * @throws on all ranks, if they are not all at the same place
 */
export async function exchange<T>(collective: Collective, at: string, value: T): Promise<readonly T[]> {
  if (collective.size === 1) return [value];
  const bytes = await collective.gather(new TextEncoder().encode(JSON.stringify({ at, value })));
  const messages = bytes.map((text) => parseJson(new TextDecoder().decode(text)) as { at: string; value: T });
  const places = messages.map((message) => message.at);
  if (new Set(places).size === 1) return messages.map((message) => message.value);
  throw shared(
    new Error(
      `Collective: got ${describeByRank(places)}, expected all ranks at one place. ` +
        'Leave the training loop, or save checkpoints, on all ranks alike.',
    ),
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

/** The errors of the ranks whose work failed, each with its rank. Its stack has theirs. */
export class RankError extends Error {
  override readonly name = 'RankError';
}

/** An error as other ranks see it. */
interface Failure {
  readonly message: string;
  readonly stack: string;
}

/** How the work of one rank ended. */
interface Outcome {
  readonly isStopped: boolean;
  /** The message of its NonFiniteError. */
  readonly nonFinite?: string;
  /** Any other error. */
  readonly failure?: Failure;
}

/**
 * Called by each rank after work of its own: resolves only if the work succeeded on all ranks.
 * @param failure what the work threw on this rank; undefined if it succeeded
 * @throws on all ranks, if the work failed on any: that rank its error, the others RankError; so does rank 0, unless
 *   all ranks have its error. Or, if any was stopped by its signal: that rank the signal's reason, the others
 *   StoppedElsewhere. Or, if any found a value that is not finite: NonFiniteError with the messages of those ranks
 */
export async function agree(collective: Collective, at: string, failure: unknown, signal?: AbortSignal): Promise<void> {
  if (failure !== undefined && (collective.size === 1 || isShared(failure))) throw failure as Error;
  const isStopped = signal?.aborted === true && failure === signal.reason;
  const outcomes = await exchange<Outcome>(collective, at, outcomeOf(failure, isStopped)).catch((error: unknown) => {
    throw (failure ?? error) as Error;
  });
  throwFailures(collective, outcomes, failure);
  if (isStopped) throw shared(failure as Error);
  const rank = outcomes.findIndex((outcome) => outcome.isStopped);
  if (rank >= 0) throw shared(new StoppedElsewhere(`rank ${rank} was asked to stop`));
  const messages = outcomes.flatMap(({ nonFinite }, i) => (nonFinite === undefined ? [] : `on rank ${i} ${nonFinite}`));
  if (messages.length > 0) throw shared(new NonFiniteError(messages.join(' ')));
}

function outcomeOf(failure: unknown, isStopped: boolean): Outcome {
  if (failure === undefined || isStopped) return { isStopped };
  if (failure instanceof NonFiniteError) return { isStopped, nonFinite: failure.message };
  const { message, stack = message } = failure instanceof Error ? failure : new Error(JSON.stringify(failure));
  return { isStopped, failure: { message, stack } };
}

/** Throws on all ranks if the work failed on any. */
function throwFailures({ rank }: Collective, outcomes: readonly Outcome[], cause: unknown): void {
  const failures = outcomes.map((outcome) => outcome.failure);
  if (failures.every((failure) => failure === undefined)) return;
  const messages = ranksByValue(failures.map((failure) => failure?.message ?? ''));
  const hasFailed = failures[rank] !== undefined;
  if (hasFailed && (rank > 0 || messages.size === 1)) throw shared(cause as Error);
  const failed = [...messages].filter(([, ranks]) => failures[ranks[0]!]);
  const describe = (part: keyof Failure) =>
    failed.map(([, ranks]) => `${rankNames(ranks)}: ${failures[ranks[0]!]![part]}`).join('\n');
  const error = new RankError(describe('message'), hasFailed ? { cause } : {});
  error.stack = `${error.name}: ${describe('stack')}`;
  throw shared(error);
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
