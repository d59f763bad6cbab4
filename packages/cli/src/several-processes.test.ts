// `mpirun -np 2 alignprop train`, as a user runs it.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { bundleCommand } from '../../../fixtures/bundle-command.js';
import { fixturePath } from '../../../fixtures/index.js';
import { hasMpirun, runProgram } from '../../../fixtures/run-program.js';
import { temporaryFolder } from '../../../fixtures/temporary-folder.js';

describe.skipIf(!hasMpirun('several-processes.test.ts'))('mpirun -np 2 alignprop train', () => {
  const folder = temporaryFolder();
  const programFolder = temporaryFolder();
  let program: string;
  beforeAll(async () => void (program = await bundleCommand(programFolder)));

  const readJson = <T>(path: string): T => JSON.parse(readFileSync(join(folder, path), 'utf8')) as T;
  const processOfRankZero = (): number => {
    const [owner] = readdirSync(join(folder, 'run/run.lock'));
    return readJson<{ pid: number }>(`run/run.lock/${owner!}`).pid;
  };

  it('is one run that rank 0 reports, and stops as one when one process gets a signal', async () => {
    const short = '--height 16 --width 16 --sample-num-steps 1 --truncated-rand-backprop-minmax 0 0'.split(' ');
    const run = '--engine tfjs --num-epochs 100000 --no-guard --output-dir run --json'.split(' ');
    let isSignalled = false;
    const { code, stdout, stderr } = await runProgram(
      program,
      ['train', '--model', fixturePath('sd2-tiny/model'), ...short, ...run],
      {
        cwd: folder,
        isBundled: true,
        ranks: 2,
        transport: 'tcp',
        onStdout: (text) => {
          if (isSignalled || !text.includes('\n')) return;
          isSignalled = true;
          process.kill(processOfRankZero(), 'SIGTERM');
        },
      },
    );
    expect(code).not.toBe(0);

    const steps = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { event: string; global_step: number });
    expect(steps.map(({ event, global_step }) => [event, global_step])).toEqual(steps.map((_, i) => ['step', i]));
    expect(stderr.match(/2 processes: 2 × 1 = 2 images a step\./g)).toHaveLength(1);
    expect(stderr).toMatch(/^ {2}mpirun .*--bind-to none .*-np 2 alignprop resume run$/m);
    const [, stopped] = [...stderr.matchAll(/stopped after step (\d+) of 100000/g)].flat();
    expect(stderr.match(/stopped after step/g)).toHaveLength(1);
    expect(
      readJson<{ other_ranks: unknown[] }>(`run/checkpoints/checkpoint_${stopped!}/state.json`).other_ranks,
    ).toHaveLength(1);
    expect(readFileSync(join(folder, 'run/metrics.jsonl'), 'utf8').trim().split('\n')).toHaveLength(Number(stopped));
  });

  it('prints an error that all ranks have once, and ends', async () => {
    const args = ['train', '--model', join(folder, 'nowhere'), '--output-dir', 'none'];
    const { code, stderr } = await runProgram(program, args, { cwd: folder, isBundled: true, ranks: 2 });
    expect(code).toBe(1);
    expect(stderr.match(/^error: .*nowhere.*$/gm)).toHaveLength(1);
    expect(stderr).not.toContain('MPI_ABORT');
  });
});
