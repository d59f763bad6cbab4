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
}

/** The first one that recognises its variables counts. */
const launchers: readonly Launcher[] = [
  {
    name: "Open MPI's mpirun or srun --mpi=pmix",
    isConnected: true,
    size: ({ OMPI_COMM_WORLD_SIZE, PMIX_RANK, SLURM_STEP_NUM_TASKS }) =>
      OMPI_COMM_WORLD_SIZE !== undefined || PMIX_RANK !== undefined
        ? Number(OMPI_COMM_WORLD_SIZE ?? SLURM_STEP_NUM_TASKS)
        : undefined,
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

const refusal = (launcher: string, size: number): string =>
  `launched: ${launcher} started ${size} processes, expected ${launchers[0]!.name}: each would train alone. ` +
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
