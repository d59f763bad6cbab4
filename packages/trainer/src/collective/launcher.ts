type Environment = Readonly<Record<string, string | undefined>>;

/** Processes that were started together. */
export interface Launched {
  /** As far as the environment says. */
  readonly size?: number;
  /** Of them, those on this machine. */
  readonly localSize: number;
  /** Among those. */
  readonly localRank: number;
}

/**
 * Whether a launcher of Open MPI or Slurm started this process as one of several, as far as its environment says.
 * @returns undefined for a process of its own
 * @throws for launchers whose processes would not find each other: MPICH's and Intel's, and `srun` without `--mpi=pmix`
 */
export function launched(env: Environment): Launched | undefined {
  if (env.OMPI_COMM_WORLD_SIZE !== undefined || env.PMIX_RANK !== undefined) {
    const size = Number(env.OMPI_COMM_WORLD_SIZE ?? env.SLURM_STEP_NUM_TASKS);
    if (size === 1) return undefined;
    return {
      ...(size > 1 && { size }),
      localSize: Number(env.OMPI_COMM_WORLD_LOCAL_SIZE) || tasksOfNode(env),
      localRank: Number(env.OMPI_COMM_WORLD_LOCAL_RANK ?? env.SLURM_LOCALID ?? 0),
    };
  }
  // Not SLURM_NTASKS: a batch script that starts one process itself has that too.
  const count = Number(env.PMI_SIZE ?? env.SLURM_STEP_NUM_TASKS);
  if (!(count > 1)) return undefined;
  const launcher =
    Number(env.SLURM_STEP_NUM_TASKS) === count ? 'srun without PMIx' : 'the launcher of MPICH or Intel MPI';
  throw new Error(
    `launched: ${launcher} started ${count} processes, expected Open MPI's mpirun or srun --mpi=pmix: each would train alone. Use \`mpirun -np ${count} …\` of Open MPI (apt-get install openmpi-bin libopenmpi3), or \`srun --mpi=pmix …\`.`,
  );
}

/** Slurm's list, such as `4(x2),3`: tasks on nodes that follow each other. */
function tasksOfNode({ SLURM_STEP_TASKS_PER_NODE: list = '1', SLURM_NODEID: node = '0' }: Environment): number {
  const nodes = list.split(',').flatMap((entry) => {
    const [, tasks = '1', times = '1'] = /^(\d+)(?:\(x(\d+)\))?$/.exec(entry) ?? [];
    return new Array<number>(Number(times)).fill(Number(tasks));
  });
  return nodes[Number(node)] ?? 1;
}
