import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { basename } from 'node:path';
import { describe, expect, it } from 'vitest';
import { launchCommand, launched } from './launcher.js';

describe('launched', () => {
  it.each([
    ['no launcher', {}, undefined],
    ['the only process of mpirun', { OMPI_COMM_WORLD_SIZE: '1', PMIX_RANK: '0' }, undefined],
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
    ['a process that a batch script starts itself', { SLURM_PROCID: '0', SLURM_NTASKS: '4' }, undefined],
    ['the only task of srun', { SLURM_PROCID: '0', SLURM_STEP_NUM_TASKS: '1' }, undefined],
    ['the only process of MPICH', { PMI_SIZE: '1', PMI_RANK: '0' }, undefined],
  ])('recognises %s', (_, env, expected) => expect(launched(env)).toEqual(expected));

  it.each([
    ['the launcher of MPICH or Intel MPI', { PMI_SIZE: '4', PMI_RANK: '1' }],
    // mpiexec of MPICH as the only task of srun
    ['the launcher of MPICH or Intel MPI', { PMI_SIZE: '4', PMI_RANK: '1', SLURM_STEP_NUM_TASKS: '1' }],
    ['srun without PMIx', { SLURM_PROCID: '1', SLURM_STEP_NUM_TASKS: '4' }],
    ['srun without PMIx', { SLURM_PROCID: '1', SLURM_STEP_NUM_TASKS: '4', PMI_SIZE: '4' }],
  ])('refuses %s: its processes would each train alone', (launcher, env) => {
    expect(() => launched(env)).toThrow(
      `launched: ${launcher} started 4 processes, expected Open MPI's mpirun or srun --mpi=pmix: ` +
        'each would train alone.',
    );
  });
});

describe('launchCommand', () => {
  it.each([
    ['a single process', {}, undefined],
    ['mpirun on another machine', { OMPI_COMM_WORLD_SIZE: '8', PMIX_RANK: '3' }, ['mpirun', '-np', '8']],
    [
      'srun',
      { PMIX_RANK: '0', SLURM_STEP_NUM_TASKS: '4', SLURM_STEP_NUM_NODES: '2', SLURM_CPUS_PER_TASK: '6' },
      ['srun', '-N', '2', '-n', '4', '-c', '6', '--mpi=pmix'],
    ],
  ])('names the launcher of %s', async (_, env, expected) => expect(await launchCommand(env)).toEqual(expected));

  it.each([
    ['the program', []],
    ['npx, which runs it by a shell', ['sh', '-c', '"$@"; exit', 'sh']],
  ])('has the options that mpirun was given, if it starts %s', async (_, shell) => {
    const program = `import(${JSON.stringify(import.meta.resolve('./launcher.ts'))})
      .then(({ launchCommand }) => launchCommand(process.env))
      .then((words) => process.stdout.write(JSON.stringify(words)));`;
    const node = [...shell, process.execPath, '--import', import.meta.resolve('tsx'), '--eval', program];
    const env = { OMPI_COMM_WORLD_SIZE: '2', OMPI_COMMAND: basename(node[0]!), OMPI_ARGV: node.slice(1).join(' ') };
    // A shell in mpirun's place, whose command line is that of mpirun.
    const mpirun = ['-c', '"${@:6}"; exit', 'mpirun', '-np', '2', '--bind-to', 'none', '--report', ...node];
    const child = spawn('bash', mpirun, { argv0: 'mpirun', env: { ...process.env, ...env } });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => void (output += text));
    await once(child, 'close');
    expect((JSON.parse(output) as string[]).slice(-6)).toEqual(['mpirun', ...mpirun.slice(3, 8)]);
  });
});
