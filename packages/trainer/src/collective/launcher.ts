type Environment = Readonly<Record<string, string | undefined>>;

/** A group of processes that a launcher started, as seen by one of them. */
export interface Launched {
  /** Number of processes; undefined where the environment does not say. */
  readonly size?: number;
  /** Number of processes on this machine. */
  readonly localSize: number;
  /** Index of this process among those on this machine, from 0. */
  readonly localRank: number;
}

/** How to recognise a launcher by the environment variables that it sets. */
interface Launcher {
  /** Its name in errors. */
  readonly name: string;
  /** Whether Open MPI connects its processes. Other launchers are refused: their processes would each train alone. */
  readonly isConnected: boolean;
  /** Number of processes: NaN if the launcher does not say, undefined if another launcher, or none, was used. */
  readonly size: (env: Environment) => number | undefined;
  /** The arguments that start as many processes once more, before the program's. */
  readonly command?: (env: Environment, ancestors: readonly (readonly string[])[]) => readonly string[];
}

const openMpi = "Open MPI's mpirun or srun --mpi=pmix";

/** The first one that recognises its variables counts. */
const launchers: readonly Launcher[] = [
  {
    name: openMpi,
    isConnected: true,
    size: ({ OMPI_COMM_WORLD_SIZE: size }) => (size === undefined ? undefined : Number(size)),
    command: (env, ancestors) => {
      const found = ancestors.map((words) => mpirunArguments(env, words)).find((words) => words !== undefined);
      return found ?? ['mpirun', '-np', env.OMPI_COMM_WORLD_SIZE!];
    },
  },
  {
    name: openMpi,
    isConnected: true,
    size: ({ PMIX_RANK, SLURM_STEP_NUM_TASKS }) => (PMIX_RANK === undefined ? undefined : Number(SLURM_STEP_NUM_TASKS)),
    command: ({ SLURM_STEP_NUM_NODES: nodes, SLURM_STEP_NUM_TASKS: tasks, SLURM_CPUS_PER_TASK: cores }) => [
      'srun',
      ...(nodes === undefined ? [] : ['-N', nodes]),
      ...(tasks === undefined ? [] : ['-n', tasks]),
      ...(cores === undefined ? [] : ['-c', cores]),
      '--mpi=pmix',
    ],
  },
  {
    // Not SLURM_NTASKS, which is also set for the single process that a batch script starts itself.
    name: 'srun without PMIx',
    isConnected: false,
    size: ({ SLURM_STEP_NUM_TASKS: tasks, PMI_SIZE: size = tasks }) =>
      tasks !== undefined && Number(tasks) === Number(size) ? Number(tasks) : undefined,
  },
  {
    name: 'the launcher of MPICH or Intel MPI',
    isConnected: false,
    size: ({ PMI_SIZE }) => (PMI_SIZE === undefined ? undefined : Number(PMI_SIZE)),
  },
];

/**
 * Reads from the environment whether a launcher started this process as one of several.
 * @returns undefined for a single process
 * @throws for launchers whose processes Open MPI does not connect: those of MPICH and Intel MPI, and `srun` without
 *   `--mpi=pmix`
 */
export function launched(env: Environment): Launched | undefined {
  for (const { name, isConnected, size: sizeIn } of launchers) {
    const size = sizeIn(env);
    if (size === undefined) continue;
    if (isConnected) return size === 1 ? undefined : { ...(size > 1 && { size }), ...localProcesses(env) };
    if (size > 1) throw new Error(refusal(name, size));
    return undefined;
  }
  return undefined;
}

/**
 * The command line of the launcher that started this process, without the program's: `mpirun -np 2 --bind-to none`.
 * Options of mpirun are known on its own machine; elsewhere, and for srun, the numbers of processes.
 * @returns undefined for a single process
 */
export async function launchCommand(env: Environment): Promise<readonly string[] | undefined> {
  if (!launched(env)) return undefined;
  const { command } = launchers.find(({ size }) => size(env) !== undefined)!;
  return command?.(env, await ancestorArguments());
}

/**
 * The arguments of the parent process and of those above it, nearest first: mpirun or a helper of its, also above npx
 * and its shell. Ends where they cannot be read.
 */
async function ancestorArguments(): Promise<readonly (readonly string[])[]> {
  const { readFile } = await import('node:fs/promises');
  // eslint-disable-next-line no-restricted-syntax -- it only completes a printed command
  const read = (path: string) => readFile(path, 'utf8').catch(() => '');
  const all: (readonly string[])[] = [];
  for (let id = process.ppid; id > 1 && all.length < 8;) {
    all.push((await read(`/proc/${id}/cmdline`)).split('\0').slice(0, -1));
    id = Number(/^PPid:\s*(\d+)/m.exec(await read(`/proc/${id}/status`))?.[1] ?? 0);
  }
  return all;
}

/** The arguments of mpirun before the program; undefined for another process, or several programs (`a : b`). */
function mpirunArguments(
  { OMPI_COMMAND: program, OMPI_ARGV: args = '', OMPI_NUM_APP_CTX: programs = '1' }: Environment,
  words: readonly string[],
): readonly string[] | undefined {
  if (programs !== '1') return undefined;
  // OMPI_COMMAND has the program without its folder.
  const isProgram = (word: string) => program !== undefined && `/${word}`.endsWith(`/${program}`);
  const end = words.findIndex((word, i) => i > 0 && isProgram(word) && words.slice(i + 1).join(' ') === args);
  return end > 0 ? words.slice(0, end) : undefined;
}

const refusal = (launcher: string, size: number): string =>
  `launched: ${launcher} started ${size} processes, expected ${openMpi}: each would train alone. ` +
  `Use \`mpirun -np ${size} …\` of Open MPI (apt-get install openmpi-bin libopenmpi3), or \`srun --mpi=pmix …\`.`;

const localProcesses = (env: Environment): Pick<Launched, 'localSize' | 'localRank'> => ({
  localSize: Number(env.OMPI_COMM_WORLD_LOCAL_SIZE) || tasksOfNode(env),
  localRank: Number(env.OMPI_COMM_WORLD_LOCAL_RANK ?? env.SLURM_LOCALID ?? 0),
});

/** Number of tasks on this node, from Slurm's run-length list: `4(x2),3` is 4, 4 and 3 tasks on nodes 0, 1 and 2. */
function tasksOfNode({ SLURM_STEP_TASKS_PER_NODE: list = '1', SLURM_NODEID: node = '0' }: Environment): number {
  const nodes = list.split(',').flatMap((entry) => {
    const [, tasks = '1', times = '1'] = /^(\d+)(?:\(x(\d+)\))?$/.exec(entry) ?? [];
    return new Array<number>(Number(times)).fill(Number(tasks));
  });
  return nodes[Number(node)] ?? 1;
}
