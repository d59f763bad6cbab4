import type { Collective } from './collective.js';
import { agree, exchange } from './exchange.js';

/** Seconds between the signs of life that ranks get while they wait for work of others. */
const beat = 10;

/**
 * Does work on every rank that may take much longer on some than on others, such as downloads. The work makes no calls
 * of the collective.
 * @throws as `agree`; on a rank alone, if its work fails while that of others goes on
 */
export async function together<T>(
  collective: Collective,
  at: string,
  work: () => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  if (collective.size === 1) return work();
  let [result, failure, isDone] = [undefined as T | undefined, undefined as unknown, false];
  const end = work()
    .then(
      (value) => (result = value),
      (error: unknown) => (failure = error),
    )
    .then(() => (isDone = true));
  for (;;) {
    await waitFor(end, 1000 * beat);
    const areDone = await exchange(collective, at, isDone);
    if (areDone.every(Boolean)) break;
    if (failure !== undefined) throw failure as Error;
  }
  await agree(collective, at, failure, signal);
  return result as T;
}

/** Waits for a promise, but at most so many milliseconds. */
async function waitFor(promise: Promise<unknown>, milliseconds: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  await Promise.race([promise, new Promise((resolve) => (timer = setTimeout(resolve, milliseconds)))]);
  clearTimeout(timer);
}

/**
 * Does work on rank 0 while the other ranks wait. Resolves to its result on all ranks; the result travels as JSON.
 * @throws as `together`
 */
export async function byRankZero<T>(
  collective: Collective,
  at: string,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  const result = await together(collective, at, async () => (collective.rank === 0 ? await work() : undefined), signal);
  return (await exchange(collective, at, result as T))[0]!;
}
