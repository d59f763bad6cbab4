import { importOptional } from '@alignprop/autograd-ext';
import type * as Koffi from 'koffi';

/** The functions of Open MPI's C library that this package calls, by koffi. */
export interface LibMpi {
  readonly rank: number;
  readonly size: number;
  /** Calls a collective function in a thread, so that the event loop runs while the call waits for other ranks. */
  run(
    name: 'MPI_Allreduce' | 'MPI_Bcast' | 'MPI_Allgather' | 'MPI_Allgatherv' | 'MPI_Barrier',
    ...args: readonly unknown[]
  ): Promise<void>;
  readonly handles: {
    readonly float: unknown;
    readonly byte: unknown;
    readonly int: unknown;
    readonly sum: unknown;
    readonly world: unknown;
  };
  /** Ends all ranks, this one included. */
  abort(exitCode: number): void;
  finalize(): void;
}

const signatures = {
  MPI_Allreduce: 'int MPI_Allreduce(void *, void *, int, void *, void *, void *)',
  MPI_Bcast: 'int MPI_Bcast(void *, int, void *, int, void *)',
  MPI_Allgather: 'int MPI_Allgather(void *, int, void *, void *, int, void *, void *)',
  MPI_Allgatherv: 'int MPI_Allgatherv(void *, int, void *, void *, void *, void *, void *, void *)',
  MPI_Barrier: 'int MPI_Barrier(void *)',
} as const;

/** RTLD_LAZY of dlopen, on Linux and macOS. */
const lazyBinding = 1;
const threadSerialized = 2;
const threadMultiple = 3;
const install =
  'Install Open MPI (apt-get install openmpi-bin libopenmpi3), or start one process without mpirun or srun.';

/** Loads Open MPI and calls MPI_Init_thread. @throws if Open MPI or koffi is not installed */
export async function loadLibMpi(): Promise<LibMpi> {
  const library = await openLibrary();
  // In Open MPI, MPI_COMM_WORLD, MPI_FLOAT and so on are addresses of global structures.
  const [world, float, byte, int, sum] = ['comm_world', 'float', 'byte', 'int32_t', 'op_sum'].map(
    (name) => library.symbol(`ompi_mpi_${name}`) as unknown,
  );
  const provided = [0];
  check(
    'MPI_Init_thread',
    library.func('int MPI_Init_thread(void *, void *, int, _Out_ int *)')(null, null, threadMultiple, provided),
  );
  // Calls run in koffi's threads, but one after the other: MPI_THREAD_SERIALIZED is enough.
  if (provided[0]! < threadSerialized)
    throw new Error(
      `openMpi: this Open MPI has thread level ${provided[0]}, expected ${threadSerialized} or more. ` +
        'Use one that was built with threads.',
    );
  const query = (name: string): number => {
    const result = [0];
    check(name, library.func(`int ${name}(void *, _Out_ int *)`)(world, result));
    return result[0]!;
  };
  const functions = Object.fromEntries(
    Object.entries(signatures).map(([name, signature]) => [name, library.func(signature)]),
  );
  const abort = library.func('int MPI_Abort(void *, int)');
  const finalize = library.func('int MPI_Finalize()');
  return {
    rank: query('MPI_Comm_rank'),
    size: query('MPI_Comm_size'),
    handles: { world, float, byte, int, sum },
    run: async (name, ...args) => {
      const code = await new Promise<number>((resolve, reject) => {
        functions[name]!.async(...args, (error: unknown, result: number) =>
          error ? reject(error as Error) : resolve(result),
        );
      });
      check(name, code);
    },
    abort: (exitCode) => void abort(world, exitCode),
    finalize: () => check('MPI_Finalize', finalize()),
  };
}

/**
 * Opens libmpi with global symbols, which the plug-ins that it loads refer to. It stays loaded until the process ends:
 * koffi closes its libraries before the threads that called them end, and over TCP Open MPI leaves data in these that
 * its own code frees.
 */
async function openLibrary() {
  const name = process.platform === 'darwin' ? 'libmpi.40.dylib' : 'libmpi.so.40';
  const { default: koffi } = await importOptional(koffiName, loadKoffi).catch((cause: unknown) => {
    throw new Error(`openMpi: ${(cause as Error).message}. It calls Open MPI. ${install}`, { cause });
  });
  try {
    const library = koffi.load(name, { global: true });
    koffi.load(null).func('void *dlopen(const char *, int)')(name, lazyBinding);
    return library;
  } catch (cause) {
    throw new Error(`openMpi: ${name} cannot be loaded: ${(cause as Error).message}. ${install}`, { cause });
  }
}

/** Typed as string, so that bundlers leave it to Node: they cannot bundle its library. */
const koffiName: string = 'koffi';
const loadKoffi = () => import(/* webpackIgnore: true */ /* @vite-ignore */ koffiName) as Promise<typeof Koffi>;

/** Throws for an error code. By default Open MPI ends the process on most errors instead of returning a code. */
function check(name: string, code: unknown): void {
  if (code !== 0) throw new Error(`openMpi: ${name} returned ${String(code)}, expected 0.`);
}
