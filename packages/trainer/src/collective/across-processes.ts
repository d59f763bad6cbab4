import { singleProcess, type Collective } from './collective.js';
import { exchange, isShared } from './exchange.js';
import { launched } from './launcher.js';
import { openMpi, type OpenMpiOptions } from './open-mpi.js';

/** An error that all ranks threw, on those that leave it to rank 0 to report it. */
export class ReportedByRankZero extends Error {
  override readonly name = 'ReportedByRankZero';
}

/**
 * Runs a program in each of the processes that a launcher started, connected by Open MPI, or in this one alone if none
 * did. An error on one rank is written to stderr and ends all of them; one that all ranks throw is thrown by rank 0,
 * and as ReportedByRankZero by the others.
 * @throws what `work` throws; an error of `launched` or `openMpi`
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
