// Two processes that Open MPI connects. several-processes.test.ts tests what ranks do together in more detail.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { useBackend } from '@alignprop/autograd-ext';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bundleProgram } from '../../../../fixtures/bundle-program.js';
import { hasMpirun, runProgram, type ProgramResult } from '../../../../fixtures/run-program.js';
import { drawnByIndex } from '../__fixtures__/drawn-by-index.js';
import { lockStep } from '../__fixtures__/lock-step.js';
import { indexed, seeded } from '../__fixtures__/mpi-runs.js';
import { collect, tinyPipeline, tinyTrainer, trainedValues } from '../__fixtures__/tiny-run.js';
import { singleProcess, type Collective } from '../collective/collective.js';

const source = fileURLToPath(new URL('../__fixtures__/mpi-program.ts', import.meta.url));
const isInstalled = hasMpirun('open-mpi.test.ts');

interface RunResult {
  metrics: Record<string, number>[];
  weights: number[];
}

async function run(collective: Collective, options: Parameters<typeof tinyTrainer>[0]): Promise<RunResult> {
  const trainer = tinyTrainer({ ...options, collective });
  const metrics = (await collect(trainer)) as unknown as RunResult['metrics'];
  const result = { metrics, weights: trainedValues(trainer.pipeline) };
  trainer.dispose();
  return result;
}

describe.skipIf(!isInstalled)('two processes under mpirun', () => {
  let folder: string;
  let program: string; // a bundle: four processes start it
  let first: RunResult[][]; // by rank
  let second: ProgramResult;
  const mpirun = (...args: string[]) => runProgram(program, args, { ranks: 2, isBundled: true });
  const resultsOf = async (part: string): Promise<RunResult[][]> =>
    Promise.all(
      [0, 1].map(
        async (rank) => JSON.parse(await readFile(join(folder, `${part}-${rank}.json`), 'utf8')) as RunResult[],
      ),
    );
  beforeAll(async () => {
    await useBackend('wasm');
    folder = await mkdtemp(join(tmpdir(), 'alignprop-mpi-'));
    program = await bundleProgram(source, await mkdtemp(join(folder, 'program-')));
    expect(await mpirun('train', folder)).toMatchObject({ code: 0, stderr: '' });
    first = await resultsOf('train');
    second = await mpirun('resume', folder);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('train the same as one process with twice the batch', async () => {
    const one = await run(singleProcess, {
      ...drawnByIndex(await tinyPipeline(), 4),
      config: { ...indexed, train_batch_size: 4 },
    });
    const [two, same] = [first[0]![0]!, first[1]![0]!];
    expect(same).toEqual(two);
    for (const name of ['rewardMean', 'loss', 'gradNorm'])
      expect(Math.abs(two.metrics[0]![name]! / one.metrics[0]![name]! - 1), name).toBeLessThan(1e-6);
    expect(two.metrics[0]!.rewardStd).toBeCloseTo(one.metrics[0]!.rewardStd!, 6); // the rewards are nearly equal
    const difference = Math.hypot(...one.weights.map((x, i) => x - two.weights[i]!));
    expect(difference / Math.hypot(...one.weights)).toBeLessThan(1e-6);
  });

  it('train bit for bit the same as one process that accumulates their batches', async () => {
    const one = await run(singleProcess, {
      ...drawnByIndex(await tinyPipeline(), 2),
      config: { ...indexed, train_batch_size: 2, train_gradient_accumulation_steps: 2 },
    });
    // The standard deviation is that of a micro-batch.
    const withoutStd = (result: RunResult) => ({
      ...result,
      metrics: result.metrics.map(({ rewardStd: _, ...rest }) => rest),
    });
    expect(withoutStd(first[0]![0]!)).toEqual(withoutStd(one));
  });

  it('draw from different seeds, and resume bit for bit in new processes', async () => {
    const pipeline = await tinyPipeline();
    const straight = await Promise.all(
      lockStep(2).ranks.map((collective) => run(collective, { pipeline, config: { ...seeded, num_epochs: 2 } })),
    );
    const resumed = await resultsOf('resume');
    for (const rank of [0, 1]) {
      expect([...first[rank]![1]!.metrics, ...resumed[rank]![0]!.metrics]).toEqual(straight[rank]!.metrics);
      expect(resumed[rank]![0]!.weights).toEqual(straight[rank]!.weights);
    }
  });

  it('all end when one fails, with its error and its stack', () => {
    expect(second.code).not.toBe(0);
    expect(second.stderr).toMatch(/^RankError: rank 1: Error: rewardFunction: out of paper\n +at /m);
  });
});
