// Two processes under Open MPI's mpirun. What ranks do together is in several-processes.test.ts; here it is that Open
// MPI connects them.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { trainable, useBackend } from '@alignprop/autograd-ext';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { drawnByIndex } from '../__fixtures__/drawn-by-index.js';
import { lockStep } from '../__fixtures__/lock-step.js';
import { indexed, seeded } from '../__fixtures__/mpi-runs.js';
import { collect, tinyPipeline, tinyTrainer } from '../__fixtures__/tiny-run.js';
import { singleProcess, type Collective } from '../collective/collective.js';

const program = fileURLToPath(new URL('../__fixtures__/mpi-program.ts', import.meta.url));
const runSources = new URL('../../../../tools/run-sources/register.mjs', import.meta.url).href;
const sources = [
  '--disable-warning=DEP0205',
  '--conditions=@alignprop/source',
  '--import',
  import.meta.resolve('tsx'),
  '--import',
  runSources,
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
  process.stderr.write('open-mpi.test.ts: skipped, there is no mpirun. apt-get install openmpi-bin libopenmpi3\n');

async function mpirun(...args: string[]): Promise<{ code: number | null; stderr: string }> {
  const child = spawn('mpirun', [...twoRanks, process.execPath, ...sources, program, ...args], {
    stdio: ['ignore', 'inherit', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => void (stderr += text));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stderr };
}

type Seen = { metrics: Record<string, number>[]; weights: number[] };

async function run(collective: Collective, options: Parameters<typeof tinyTrainer>[0]): Promise<Seen> {
  const trainer = tinyTrainer({ ...options, collective });
  const metrics = (await collect(trainer)) as unknown as Seen['metrics'];
  const seen = {
    metrics,
    weights: Object.values(trainable(trainer.pipeline.unet.params)).flatMap((x) => [...x.dataSync()]),
  };
  trainer.dispose();
  return seen;
}

describe.skipIf(!isInstalled)('two processes under mpirun', () => {
  let folder: string;
  let first: Seen[][];
  let second: Awaited<ReturnType<typeof mpirun>>;
  const seenBy = async (part: string): Promise<Seen[][]> =>
    Promise.all(
      [0, 1].map(async (rank) => JSON.parse(await readFile(join(folder, `${part}-${rank}.json`), 'utf8')) as Seen[]),
    );
  beforeAll(async () => {
    await useBackend('wasm');
    folder = await mkdtemp(join(tmpdir(), 'alignprop-mpi-'));
    expect(await mpirun('train', folder)).toEqual({ code: 0, stderr: '' });
    first = await seenBy('train');
    second = await mpirun('resume', folder);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('train what one process trains with twice the batch', async () => {
    const one = await run(singleProcess, {
      ...drawnByIndex(await tinyPipeline(), 4),
      config: { ...indexed, train_batch_size: 4 },
    });
    const [two, same] = [first[0]![0]!, first[1]![0]!];
    expect(same).toEqual(two);
    for (const name of ['rewardMean', 'loss', 'gradNorm'])
      expect(Math.abs(two.metrics[0]![name]! / one.metrics[0]![name]! - 1), name).toBeLessThan(1e-6);
    expect(two.metrics[0]!.rewardStd).toBeCloseTo(one.metrics[0]!.rewardStd!, 6); // of rewards that are nearly equal
    const difference = Math.hypot(...one.weights.map((x, i) => x - two.weights[i]!));
    expect(difference / Math.hypot(...one.weights)).toBeLessThan(1e-6);
  });

  it('train to the bit what one process trains that accumulates their batches', async () => {
    const one = await run(singleProcess, {
      ...drawnByIndex(await tinyPipeline(), 2),
      config: { ...indexed, train_batch_size: 2, train_gradient_accumulation_steps: 2 },
    });
    // it is over the micro-batches
    const withoutStd = (seen: Seen) => ({ ...seen, metrics: seen.metrics.map(({ rewardStd: _, ...rest }) => rest) });
    expect(withoutStd(first[0]![0]!)).toEqual(withoutStd(one));
  });

  it('draw from seeds of their own, and go on to the bit in new processes', async () => {
    const pipeline = await tinyPipeline();
    const straight = await Promise.all(
      lockStep(2).ranks.map((collective) => run(collective, { pipeline, config: { ...seeded, num_epochs: 2 } })),
    );
    const resumed = await seenBy('resume');
    for (const rank of [0, 1]) {
      expect([...first[rank]![1]!.metrics, ...resumed[rank]![0]!.metrics]).toEqual(straight[rank]!.metrics);
      expect(resumed[rank]![0]!.weights).toEqual(straight[rank]!.weights);
    }
  });

  it('end when one of them fails, which says why', () => {
    expect(second.code).toBe(1);
    expect(second.stderr).toMatch(/^\[rank 1\] Error: out of paper\n/m);
  });
});
