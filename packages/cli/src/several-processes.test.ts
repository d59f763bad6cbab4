// `mpirun -np 2 alignprop train`, as a user runs it.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fixturePath } from '../../../fixtures/index.js';

const main = fileURLToPath(new URL('main.ts', import.meta.url));
const runSources = new URL('../../../tools/run-sources/register.mjs', import.meta.url).href;
const command = [
  process.execPath,
  '--conditions=@alignprop/source',
  '--import',
  import.meta.resolve('tsx'),
  '--import',
  runSources,
  main,
];
const twoRanks = [
  '--allow-run-as-root',
  '--oversubscribe',
  '--bind-to',
  'none',
  '--mca',
  'btl_vader_single_copy_mechanism',
  'none',
  '--mca',
  'mpi_yield_when_idle',
  '1',
  '-np',
  '2',
];
const isInstalled = spawnSync('mpirun', ['--version']).error === undefined;
if (!isInstalled)
  process.stderr.write(
    'several-processes.test.ts: skipped, there is no mpirun. apt-get install openmpi-bin libopenmpi3\n',
  );

describe.skipIf(!isInstalled)('mpirun -np 2 alignprop train', () => {
  let folder: string;
  beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'alignprop-cli-'))));
  afterAll(() => rm(folder, { recursive: true }));

  const readJson = <T>(path: string): T => JSON.parse(readFileSync(join(folder, path), 'utf8')) as T;

  it('is one run, of which rank 0 tells, and ends as one when one process is told to stop', async () => {
    const args = [
      'train',
      '--model',
      fixturePath('sd2-tiny/model'),
      '--engine',
      'tfjs',
      '--height',
      '16',
      '--width',
      '16',
      '--sample-num-steps',
      '1',
      '--truncated-rand-backprop-minmax',
      '0',
      '0',
      '--num-epochs',
      '100000',
      '--output-dir',
      'run',
      '--json',
    ];
    const child = spawn('mpirun', [...twoRanks, ...command, ...args], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    let [stdout, stderr, isTold] = ['', '', false];
    child.stderr.setEncoding('utf8').on('data', (text: string) => void (stderr += text));
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      if (isTold || !stdout.includes('\n')) return;
      isTold = true;
      process.kill(
        readJson<{ pid: number }>(`run/run.lock/${readdirSync(join(folder, 'run/run.lock'))[0]!}`).pid,
        'SIGTERM',
      ); // that of rank 0
    });
    const [code] = (await once(child, 'close')) as [number | null];
    expect(code).not.toBe(0);

    const steps = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { event: string; global_step: number });
    expect(steps.map(({ event, global_step }) => [event, global_step])).toEqual(steps.map((_, i) => ['step', i]));
    expect(stderr.match(/2 processes: 2 × 1 = 2 images a step\./g)).toHaveLength(1);
    const [, stopped] = [...stderr.matchAll(/stopped after step (\d+) of 100000/g)].flat();
    expect(stderr.match(/stopped after step/g)).toHaveLength(1);
    expect(
      readJson<{ other_ranks: unknown[] }>(`run/checkpoints/checkpoint_${stopped!}/state.json`).other_ranks,
    ).toHaveLength(1);
    expect(readFileSync(join(folder, 'run/metrics.jsonl'), 'utf8').trim().split('\n')).toHaveLength(Number(stopped));
  });

  it('says on which rank what went wrong, and ends', async () => {
    const child = spawn(
      'mpirun',
      [...twoRanks, ...command, 'train', '--model', join(folder, 'nowhere'), '--output-dir', 'none'],
      { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, NODE_OPTIONS: '' } },
    );
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => void (stderr += text));
    const [code] = (await once(child, 'close')) as [number | null];
    expect(code).toBe(1);
    expect(stderr).toMatch(/^\[rank 0\] error: .*nowhere/m);
  });
});
