import type { Collective } from './collective.js';
import { launched } from './launcher.js';
import { loadLibMpi, type LibMpi } from './libmpi.js';

export interface OpenMpiOptions {
  /** An error in words, for the rank that fails. */
  describe?: (error: unknown) => string;
}

/** Elements of one reduction: 4 MiB, so that the buffer it needs stays small. */
const chunk = 2 ** 20;

/**
 * The processes that `mpirun` or `srun --mpi=pmix` started, connected by Open MPI. Once a process; it needs koffi and
 * libmpi.so.40.
 * @throws if they are missing, or Open MPI sees other processes than the launcher started
 */
export async function openMpi({ describe = defaultDescription }: OpenMpiOptions = {}): Promise<Collective> {
  const mpi = await loadLibMpi();
  const { rank, size } = mpi;
  const expected = launched(process.env)?.size ?? size;
  if (size !== expected)
    throw new Error(
      `openMpi: Open MPI sees ${size} processes, the launcher started ${expected}: each would train alone. Use the mpirun of the Open MPI that is installed as libmpi, or srun --mpi=pmix.`,
    );
  const { world, float, sum } = mpi.handles;
  return {
    rank,
    size,
    async sum(values) {
      const sums = new Float32Array(Math.min(values.length, chunk));
      for (let start = 0; start < values.length; start += chunk) {
        const part = values.subarray(start, start + chunk);
        await mpi.run('MPI_Allreduce', part, sums, part.length, float, sum, world);
        part.set(sums.subarray(0, part.length));
      }
    },
    async broadcast(values) {
      for (let start = 0; start < values.length; start += chunk) {
        const part = values.subarray(start, start + chunk);
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
      await mpi.run('MPI_Barrier', world); // MPI_Finalize waits as well, but with the event loop
      mpi.finalize();
    },
  };
}

const defaultDescription = (error: unknown): string =>
  error instanceof Error ? (error.stack ?? error.message) : String(error);

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
