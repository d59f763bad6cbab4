// npm run slurm-check. Trains under Slurm on this machine: starts a cluster of one node with all its files in a
// temporary folder, runs jobs of two ranks that PMIx connects, and prints how they ended. Needs root and Linux.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Cluster, type JobResult } from './cluster.js';

const missing = ['munged', 'slurmctld', 'slurmd', 'srun', 'mpirun'].filter(
  (program) => spawnSync(program, ['--version']).error !== undefined,
);
if (missing.length > 0 || process.getuid?.() !== 0) {
  const got = missing.length > 0 ? `no ${missing.join(', ')}` : 'another user than root';
  console.error(
    `slurm-check: got ${got}, expected root, Slurm with PMIx, and Open MPI. ` +
      'On Debian: apt-get install slurm-wlm munge libpmix-dev openmpi-bin libopenmpi3',
  );
  process.exit(2);
}

const root = fileURLToPath(new URL('../../', import.meta.url));
/** The command line of a program of the sources. */
const node = (program: string, ...args: readonly string[]): readonly string[] => [
  process.execPath,
  ...process.execArgv,
  join(root, program),
  ...args,
];
const ranks = (part: string) => node('tools/slurm-check/ranks.ts', part);
const short = [
  ...['--num-epochs', '2', '--train-batch-size', '1', '--height', '32', '--width', '32'],
  ...['--sample-num-steps', '2', '--truncated-rand-backprop-minmax', '0', '2'],
];
const failures: string[] = [];

/** Runs a job of two ranks, and prints whether it ended as expected. */
async function check(
  what: string,
  program: readonly string[],
  isExpected: (job: JobResult) => boolean,
  flags: readonly string[] = [],
): Promise<void> {
  const job = await cluster.srun(program, root, flags);
  const isFine = isExpected(job);
  console.log(`${isFine ? 'ok  ' : 'FAIL'}  status ${job.code}: ${what}`);
  if (isFine) return;
  failures.push(what);
  console.log(`${job.stdout}\n${job.stderr}`);
}

/** Whether both ranks ended well and printed the same hash of their weights. */
function areEqual({ code, stdout }: JobResult): boolean {
  const lines = stdout.trim().split('\n').sort();
  const [first, second] = lines.map((line, i) => new RegExp(`^${i} of 2: (\\w{64})$`).exec(line)?.[1]);
  return code === 0 && lines.length === 2 && first !== undefined && first === second;
}

const cluster = new Cluster();
try {
  await cluster.start();
  console.log(`${spawnSync('slurmd', ['-V'], { encoding: 'utf8' }).stdout.trim()}, srun -n 2 --mpi=pmix`);
  await check('two ranks train to the same weights', ranks('trains'), areEqual);
  const output = join(cluster.folder, 'run');
  const train = node('packages/cli/src/main.ts', 'train', ...short, '--output-dir', output);
  await check('alignprop train writes one adapter', train, ({ code, stderr }) => {
    return (
      code === 0 &&
      existsSync(join(output, 'pytorch_lora_weights.safetensors')) &&
      stderr.includes('2 processes: 2 × 1 = 2 images a step.')
    );
  });
  await check(
    'both end with the error of a reward that throws on rank 1',
    ranks('throws'),
    ({ code, stdout, stderr }) => {
      return code !== 0 && stdout === '' && stderr.includes('rank 1: Error: rewardFunction: out of paper');
    },
  );
  const afterKill = ({ code, stdout, stderr }: JobResult) =>
    code !== 0 && stdout === '' && /rank 0: step 0\n[^]*task 1: Killed/.test(stderr);
  await check('both end when rank 1 is killed', ranks('dies'), afterKill, ['--kill-on-bad-exit=1']);
} finally {
  await cluster.stop();
}
console.log(failures.length === 0 ? 'All jobs ended as expected.' : `${failures.length} jobs FAIL.`);
process.exit(failures.length === 0 ? 0 : 1);
