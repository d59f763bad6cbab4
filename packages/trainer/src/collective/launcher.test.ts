import { describe, expect, it } from 'vitest';
import { launched } from './launcher.js';

describe('launched', () => {
  it.each([
    ['nothing', {}, undefined],
    ["mpirun's only process", { OMPI_COMM_WORLD_SIZE: '1', PMIX_RANK: '0' }, undefined],
    [
      'mpirun',
      { OMPI_COMM_WORLD_SIZE: '8', OMPI_COMM_WORLD_LOCAL_SIZE: '4', OMPI_COMM_WORLD_LOCAL_RANK: '3', PMIX_RANK: '7' },
      { size: 8, localSize: 4, localRank: 3 },
    ],
    [
      'mpirun in a job of Slurm',
      { OMPI_COMM_WORLD_SIZE: '2', OMPI_COMM_WORLD_LOCAL_SIZE: '2', SLURM_NTASKS: '1', SLURM_STEP_NUM_TASKS: '1' },
      { size: 2, localSize: 2, localRank: 0 },
    ],
    [
      'srun --mpi=pmix',
      {
        PMIX_RANK: '5',
        SLURM_PROCID: '5',
        SLURM_LOCALID: '1',
        SLURM_STEP_NUM_TASKS: '7',
        SLURM_STEP_TASKS_PER_NODE: '2(x2),3',
        SLURM_NODEID: '2',
      },
      { size: 7, localSize: 3, localRank: 1 },
    ],
    ['another launcher with PMIx', { PMIX_RANK: '0' }, { localSize: 1, localRank: 0 }],
    ["one process of a batch script's own", { SLURM_PROCID: '0', SLURM_NTASKS: '4' }, undefined],
    ["srun's only task", { SLURM_PROCID: '0', SLURM_STEP_NUM_TASKS: '1' }, undefined],
    ["MPICH's only process", { PMI_SIZE: '1', PMI_RANK: '0' }, undefined],
  ])('knows %s', (_, env, expected) => expect(launched(env)).toEqual(expected));

  it.each([
    ['the launcher of MPICH or Intel MPI', { PMI_SIZE: '4', PMI_RANK: '1' }],
    // which srun started
    ['the launcher of MPICH or Intel MPI', { PMI_SIZE: '4', PMI_RANK: '1', SLURM_STEP_NUM_TASKS: '1' }],
    ['srun without PMIx', { SLURM_PROCID: '1', SLURM_STEP_NUM_TASKS: '4' }],
    ['srun without PMIx', { SLURM_PROCID: '1', SLURM_STEP_NUM_TASKS: '4', PMI_SIZE: '4' }],
  ])('refuses %s, whose processes would each train alone', (what, env) => {
    expect(() => launched(env)).toThrow(
      `launched: ${what} started 4 processes, expected Open MPI's mpirun or srun --mpi=pmix: each would train alone.`,
    );
  });
});
