import type { Collective } from './collective.js';
import { shared } from './exchange.js';
import { launched } from './launcher.js';
import { loadLibMpi, type LibMpi } from './libmpi.js';
import { describeByRank } from './rank-groups.js';

export interface OpenMpiOptions {
  /** Formats the error of a rank that aborts, for stderr. */
  describe?: (error: unknown) => string;
  /** Seconds that a rank waits in a call for the others before it ends them all. 3600 by default. */
  timeout?: number;
}

/**
 * Connects the processes that `mpirun` or `srun --mpi=pmix` started, by Open MPI. A process can call it once. It needs
 * koffi and libmpi.so.40. A process that exits before `close` ends all ranks.
 * @throws if one of them is missing, or Open MPI sees another number of processes than the launcher started
 */
export async function openMpi({
  describe = defaultDescription,
  timeout = 3600,
}: OpenMpiOptions = {}): Promise<Collective> {
  const mpi = await loadLibMpi();
  const { size } = mpi;
  const expected = launched(process.env)?.size ?? size;
  if (size !== expected)
    throw new Error(
      `openMpi: Open MPI sees ${size} processes, the launcher started ${expected}: each would train alone. ` +
        'Use the mpirun of the Open MPI that is installed as libmpi, or srun --mpi=pmix.',
    );
  return new OpenMpi(mpi, describe, timeout);
}

const defaultDescription = (error: unknown): string =>
  error instanceof Error ? (error.stack ?? error.message) : String(error);

/** Elements per reduction, 4 MiB: bounds the memory of the receive buffer. */
const chunkSize = 2 ** 20;

/** The calls of a `Collective`; messages between ranks have their indices. */
const calls = ['sum', 'broadcast', 'gather', 'barrier', 'close'] as const;
type Call = (typeof calls)[number];

/** The ranks that may still report that they wait get so many seconds. */
const reportTime = 2;
/** The longest timer, in seconds. */
const longestTimer = (2 ** 31 - 1) / 1000;

class OpenMpi implements Collective {
  readonly rank: number;
  readonly size: number;
  readonly #mpi: LibMpi;
  readonly #describe: (error: unknown) => string;
  readonly #timeout: number;
  #uncaught: unknown;

  constructor(mpi: LibMpi, describe: (error: unknown) => string, timeout: number) {
    this.rank = mpi.rank;
    this.size = mpi.size;
    this.#mpi = mpi;
    this.#describe = describe;
    this.#timeout = timeout;
    process.on('exit', this.#abortAtExit).on('uncaughtExceptionMonitor', this.#noteUncaught);
  }

  sum(values: Float32Array): Promise<void> {
    const { handles } = this.#mpi;
    const sums = new Float32Array(Math.min(values.length, chunkSize));
    return this.#call('sum', values.length, async () => {
      for (let start = 0; start < values.length; start += chunkSize) {
        const part = values.subarray(start, start + chunkSize);
        await this.#mpi.run('MPI_Allreduce', part, sums, part.length, handles.float, handles.sum, handles.world);
        part.set(sums.subarray(0, part.length));
      }
    });
  }

  broadcast(values: Float32Array): Promise<void> {
    const { float, world } = this.#mpi.handles;
    return this.#call('broadcast', values.length, async () => {
      for (let start = 0; start < values.length; start += chunkSize) {
        const part = values.subarray(start, start + chunkSize);
        await this.#mpi.run('MPI_Bcast', part, part.length, float, 0, world);
      }
    });
  }

  gather(bytes: Uint8Array): Promise<readonly Uint8Array[]> {
    const { byte, world } = this.#mpi.handles;
    return this.#call('gather', bytes.length, async (counts) => {
      const starts = new Int32Array(this.size);
      for (let i = 1; i < this.size; i++) starts[i] = starts[i - 1]! + counts[i - 1]!;
      const all = new Uint8Array(starts.at(-1)! + counts.at(-1)!);
      await this.#mpi.run('MPI_Allgatherv', bytes, bytes.length, byte, all, counts, starts, byte, world);
      return Array.from(counts, (count, i) => all.slice(starts[i], starts[i]! + count));
    });
  }

  barrier(): Promise<void> {
    return this.#call('barrier', 0, async () => {});
  }

  abort(cause: unknown): Promise<void> {
    this.#report(this.#describe(cause));
    this.#mpi.abort(1);
    return Promise.resolve();
  }

  async close(): Promise<void> {
    await this.#call('close', 0, async () => {}); // MPI_Finalize waits too, but blocks the event loop
    process.off('exit', this.#abortAtExit).off('uncaughtExceptionMonitor', this.#noteUncaught);
    this.#mpi.finalize();
  }

  /** Makes a call once all ranks make the same one. @param work gets the lengths that the ranks pass */
  async #call<T>(call: Call, length: number, work: (lengths: Int32Array) => Promise<T>): Promise<T> {
    const seconds = Math.min(this.#timeout, longestTimer);
    const timer = setTimeout(() => this.#giveUp(), 1000 * seconds);
    try {
      return await work(await this.#agreeOnCall(call, length));
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Returns the lengths that all ranks pass to a call.
   * @throws on all ranks, if they make different calls, or have different lengths where these have to be the same: MPI
   *   would mix up their data
   */
  async #agreeOnCall(call: Call, length: number): Promise<Int32Array> {
    const { int, world } = this.#mpi.handles;
    const all = new Int32Array(2 * this.size);
    await this.#mpi.run('MPI_Allgather', Int32Array.of(calls.indexOf(call), length), 2, int, all, 2, int, world);
    const names = Array.from({ length: this.size }, (_, i) => {
      const name = calls[all[2 * i]!]!;
      return name === 'sum' || name === 'broadcast' ? `${name} of ${all[2 * i + 1]} values` : name;
    });
    if (new Set(names).size > 1)
      throw shared(
        new Error(
          `Collective: got ${describeByRank(names)}, expected the same call on all ranks. ` +
            'Give all processes the same program, options and files.',
        ),
      );
    return all.filter((_, i) => i % 2 === 1);
  }

  /** Ends all ranks, after the others that wait as well have had the time to say so. */
  #giveUp(): void {
    this.#report(
      this.#describe(
        new Error(
          `openMpi: rank ${this.rank} has waited ${this.#timeout} s for other ranks. A rank that does not say so ` +
            'hangs, or works for longer than that. Look at it, or raise the limit (--rank-timeout).',
        ),
      ),
    );
    setTimeout(() => this.#mpi.abort(1), 1000 * reportTime);
  }

  /** Remembers the error that ends the process: Node prints it only after the listeners of `exit`. */
  readonly #noteUncaught = (error: unknown): void => void (this.#uncaught = error);

  /** Ends all ranks when this process exits early: it would wait for its threads, which wait for the other ranks. */
  readonly #abortAtExit = (code: number): void => {
    const cause = this.#uncaught ?? new Error(`the process exits with status ${code} before the end of the program`);
    this.#report(this.#describe(cause));
    this.#mpi.abort(code || 1);
  };

  #report(text: string): void {
    process.stderr.write(`[rank ${this.rank}] ${text}\n`);
  }
}
