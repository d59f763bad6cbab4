import { singleProcess, type Collective } from './collective.js';
import { exchange, isShared } from './exchange.js';
import { launched } from './launcher.js';
import { openMpi, type OpenMpiOptions } from './open-mpi.js';

/** Thrown on ranks other than 0 in place of an error that all ranks threw: rank 0 throws the error itself. */
export class ReportedByRankZero extends Error {
  override readonly name = 'ReportedByRankZero';
}

/**
 * Runs a program in each of the processes that a launcher started, connected by Open MPI. Without a launcher, runs it
 * in this process alone. An error on a single rank is written to stderr and ends all ranks.
 * @throws what `work` throws on all ranks: rank 0 the error itself, the others ReportedByRankZero; errors of `launched`
 *   and `openMpi`
 */
export async function acrossProcesses<T>(
  work: (collective: Collective) => Promise<T>,
  options?: OpenMpiOptions,
): Promise<T> {
  if (!launched(process.env)) return work(singleProcess);
  const collective = await openMpi(options);
  let result: T;
  try {
    result = await work(collective);
  } catch (error) {
    if (!isShared(error)) await collective.abort(error);
    await end(collective);
    throw collective.rank === 0 ? error : new ReportedByRankZero('Rank 0 reports it.', { cause: error });
  }
  await end(collective);
  return result;
}

async function end(collective: Collective): Promise<void> {
  await exchange(collective, 'the end of the program', null).catch((error: unknown) => collective.abort(error));
  await collective.close();
}
