import type { Collective } from './collective.js';
import { launched } from './launcher.js';
import { loadLibMpi, type LibMpi } from './libmpi.js';

export interface OpenMpiOptions {
  /** Formats the error of a rank that aborts, for stderr. */
  describe?: (error: unknown) => string;
}

/** Elements per reduction, 4 MiB: bounds the memory of the receive buffer. */
const chunkSize = 2 ** 20;

/**
 * Connects the processes that `mpirun` or `srun --mpi=pmix` started, by Open MPI. A process can call it once. It needs
 * koffi and libmpi.so.40.
 * @throws if one of them is missing, or Open MPI sees another number of processes than the launcher started
 */
export async function openMpi({ describe = defaultDescription }: OpenMpiOptions = {}): Promise<Collective> {
  const mpi = await loadLibMpi();
  const { rank, size } = mpi;
  const expected = launched(process.env)?.size ?? size;
  if (size !== expected)
    throw new Error(
      `openMpi: Open MPI sees ${size} processes, the launcher started ${expected}: each would train alone. ` +
        'Use the mpirun of the Open MPI that is installed as libmpi, or srun --mpi=pmix.',
    );
  const { world, float, sum } = mpi.handles;
  return {
    rank,
    size,
    async sum(values) {
      const sums = new Float32Array(Math.min(values.length, chunkSize));
      for (let start = 0; start < values.length; start += chunkSize) {
        const part = values.subarray(start, start + chunkSize);
        await mpi.run('MPI_Allreduce', part, sums, part.length, float, sum, world);
        part.set(sums.subarray(0, part.length));
      }
    },
    async broadcast(values) {
      for (let start = 0; start < values.length; start += chunkSize) {
        const part = values.subarray(start, start + chunkSize);
        await mpi.run('MPI_Bcast', part, part.length, float, 0, world);
      }
    },
    gather: (bytes) => gather(mpi, bytes),
    barrier: () => mpi.run('MPI_Barrier', world),
    abort(cause) {
      process.stderr.write(`[rank ${rank}] ${describe(cause)}\n`);
      mpi.abort(1);
      return Promise.resolve();
    },
    async close() {
      await mpi.run('MPI_Barrier', world); // MPI_Finalize waits too, but blocks the event loop
      mpi.finalize();
    },
  };
}

const defaultDescription = (error: unknown): string =>
  error instanceof Error ? (error.stack ?? error.message) : String(error);

/** All-gather of byte arrays of different lengths. */
async function gather(
  { run, size, handles: { world, byte, int } }: LibMpi,
  bytes: Uint8Array,
): Promise<readonly Uint8Array[]> {
  const counts = new Int32Array(size);
  await run('MPI_Allgather', Int32Array.of(bytes.length), 1, int, counts, 1, int, world);
  const starts = new Int32Array(size);
  for (let i = 1; i < size; i++) starts[i] = starts[i - 1]! + counts[i - 1]!;
  const all = new Uint8Array(starts[size - 1]! + counts[size - 1]!);
  await run('MPI_Allgatherv', bytes, bytes.length, byte, all, counts, starts, byte, world);
  return Array.from(counts, (count, i) => all.slice(starts[i], starts[i]! + count));
}
