import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { random, useBackend } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { bundleProgram } from '../../../../fixtures/bundle-program.js';
import { runProgram } from '../../../../fixtures/run-program.js';
import { eventfulTrainer, filesOf } from '../__fixtures__/eventful-run.js';
import { crashingDisk, fullDisk, interceptDisk } from '../__fixtures__/failing-disk.js';
import { collect, tinyPipeline } from '../__fixtures__/tiny-run.js';
import { listCheckpoints, removeCheckpoints } from '../run/checkpoint-folder.js';
import { jsonlTracker } from '../trackers/jsonl.js';

let pipeline: StableDiffusionPipeline;
let parent: string; // of the runs' folders
let out: string;
let expected: Record<string, unknown>; // files of a run that nothing interrupted
let operations = 0; // that run's operations on files
const messages: string[] = [];

beforeAll(async () => {
  await useBackend('wasm');
  pipeline = await tinyPipeline();
  parent = await mkdtemp(join(tmpdir(), 'alignprop-'));
  program = await bundleProgram(source, await mkdtemp(join(parent, 'program-')));
  const whole = join(parent, 'whole');
  const end = interceptDisk(whole, () => {
    operations++;
  });
  await run(whole).finally(end);
  expected = await filesOf(whole);
});
beforeEach(async () => {
  out = await mkdtemp(join(parent, 'run-'));
  messages.length = 0;
});
afterAll(() => rm(parent, { recursive: true, force: true }));

/** Starts the run in a folder, or resumes it. */
async function run(folder: string): Promise<void> {
  const log = (message: string) => void messages.push(message);
  const trainer = eventfulTrainer(pipeline, { output_dir: folder, resume_from: folder }, { info: log, warn: log });
  await collect(trainer).finally(() => trainer.dispose());
}

const source = fileURLToPath(new URL('../__fixtures__/killed-run.ts', import.meta.url));
let program: string; // its bundle: processes start several times

/**
 * Does the same in a process of its own, started after a shell's `limits`. The process kills itself within its
 * `atOperation`th operation on files, or is killed `afterMs` milliseconds after its model is loaded.
 */
function runChild(
  folder: string,
  { atOperation = 0, afterMs, limits }: { atOperation?: number; afterMs?: number; limits?: string } = {},
) {
  let isReady = false;
  return runProgram(program, [folder, `${atOperation}`], {
    isBundled: true,
    shell: limits,
    onStdout: (_, child) => {
      if (!isReady && afterMs !== undefined) setTimeout(() => child.kill('SIGKILL'), afterMs);
      isReady = true;
    },
  });
}

/** Numbers of operations, one drawn from each of `count` equal parts of the run; with EVERY_WRITE set, all. */
function sample(count: number, seed: number): number[] {
  if (process.env.EVERY_WRITE) return Array.from({ length: operations }, (_, i) => i + 1);
  return [...random(seed).rand(count)].map((draw, i) => 1 + Math.floor(((i + draw) * operations) / count));
}

/** After a simulated crash: makes the lock look like that of an earlier process with the same id. */
async function ageLock(folder: string): Promise<void> {
  const lock = join(folder, 'run.lock');
  for (const name of await readdir(lock).catch(() => [])) {
    const owner = JSON.parse(await readFile(join(lock, name), 'utf8')) as object;
    await writeFile(join(lock, name), JSON.stringify({ ...owner, began: '1' }));
  }
}

it('tells the time of writing a checkpoint, if that is more than a second', async () => {
  const isTold = () => messages.some((text) => /^Wrote .*\/checkpoints\/checkpoint_3 in [\d.]+ s$/.test(text));
  await run(join(out, 'fast'));
  expect(isTold()).toBe(false);
  let now = 0;
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => (now += 1100));
  await run(join(out, 'slow')).finally(() => clock.mockRestore());
  expect(isTold()).toBe(true);
});

describe('a killed run', () => {
  it('has skipped steps, evaluations, a best adapter and a moving average', () => {
    const rows = expected['metrics.jsonl'] as [{ skipped: number }][];
    expect(rows).toHaveLength(3);
    expect(rows.reduce((sum, [row]) => sum + row.skipped, 0)).toBeGreaterThan(0);
    expect(expected['evaluations.jsonl']).toHaveLength(2);
    expect(Object.keys(expected).filter((path) => path.startsWith('best/'))).toHaveLength(1);
    expect(Object.keys(expected).filter((path) => path.endsWith('ema.safetensors'))).toHaveLength(1);
  });

  it('resumes to the same files, whichever operation on files was interrupted', async () => {
    const points = sample(6, 1);
    for (const n of points) {
      const folder = join(out, `${n}`);
      const trainer = eventfulTrainer(pipeline, { output_dir: folder, resume_from: folder });
      const { crashed, end } = crashingDisk(folder, n);
      await Promise.race([crashed, collect(trainer)]).finally(end);
      trainer.dispose();
      await ageLock(folder);
      await run(folder);
      expect(await filesOf(folder), `killed in operation ${n} of ${operations}`).toEqual(expected);
    }
    process.stdout.write(`killed runs: ${JSON.stringify({ operations, points: points.length, lost: 0 })}\n`);
  });

  it('resumes to the same files in new processes, whenever they are killed', async () => {
    const draws = random(7).rand(5);
    for (const [i, draw] of draws.entries()) {
      const kill = i % 3 === 2 ? { afterMs: 300 * draw } : { atOperation: 1 + Math.floor((draw * operations) / 2) };
      const { code, signal, stderr } = await runChild(out, kill);
      expect(
        [
          [0, null],
          [null, 'SIGKILL'],
        ],
        stderr,
      ).toContainEqual([code, signal]); // the run may end before its operation
    }
    expect(await runChild(out)).toMatchObject({ code: 0, signal: null, stderr: '' });
    expect(await filesOf(out)).toEqual(expected);
  });
});

/**
 * Does the work again and again, interrupted in its first operation on files, then in its second, and so on until none
 * is left. Calls `prepare` before each time and `check` after it.
 */
async function killedEverywhere(
  prepare: () => Promise<void>,
  work: () => Promise<unknown>,
  check: () => Promise<void>,
): Promise<void> {
  for (let n = 1, isDone = false; !isDone; n++) {
    await prepare();
    const { crashed, end } = crashingDisk(out, n);
    await Promise.race([crashed, work().then(() => (isDone = true))]).finally(end);
    await check();
  }
}

describe('a killed process', () => {
  it('that was deleting a checkpoint leaves it complete, or under another name', async () => {
    const checkpoint = join(out, 'checkpoint_7');
    const prepare = async () => {
      await mkdir(checkpoint, { recursive: true });
      for (const name of ['state.json', 'weights']) await writeFile(join(checkpoint, name), name);
    };
    await killedEverywhere(
      prepare,
      () => removeCheckpoints(out, [7]),
      async () => {
        if ((await listCheckpoints(out)).length > 0)
          expect(await readdir(checkpoint)).toEqual(['state.json', 'weights']);
      },
    );
    expect(await readdir(out)).toEqual([]);
  });

  it('that was removing the rows of later steps leaves those of earlier ones', async () => {
    const metrics = join(out, 'metrics.jsonl');
    const row = (step: number) => `{"global_step":${step}}\n`;
    await killedEverywhere(
      () => writeFile(metrics, [0, 1, 2, 3].map(row).join('')),
      () => jsonlTracker(metrics, { fromStep: 2, warn: () => {} }),
      async () => {
        expect(await readFile(metrics, 'utf8')).toMatch(row(0) + row(1));
      },
    );
    expect(await readFile(metrics, 'utf8')).toBe(row(0) + row(1));
  });
});

describe('a full disk', () => {
  it('leaves the newest checkpoint, and an error that names the path', async () => {
    for (const n of sample(4, 2)) {
      const folder = join(out, `${n}`);
      const end = fullDisk(folder, n);
      const error = await run(folder)
        .then(
          () => undefined,
          (caught: unknown) => caught as Error,
        )
        .finally(end);
      expect(error?.message ?? '', `full from operation ${n} of ${operations} on`).toMatch(
        n === operations
          ? /^$/
          : new RegExp(
              '^(output_dir|Checkpoint|writeFileAtomic|\\/.*jsonl): cannot (write|append) ' +
                '.*ENOSPC.*(Choose|Make room|Check)',
              's',
            ),
      );
      expect(await readdir(folder).catch(() => [])).not.toContain('run.lock');
      await run(folder);
      expect(await filesOf(folder)).toEqual(expected);
    }
  });

  it('is the same as a limit on the size of files, in another process', async () => {
    // 96 KiB: the adapter's file fits, that of the optimizer does not
    const { code, stderr } = await runChild(out, { limits: 'ulimit -f 96; trap "" XFSZ;' });
    expect(code).toBe(1);
    expect(stderr).toMatch(
      new RegExp(
        'Checkpoint: cannot write .*checkpoint_1 \\(\\d+ bytes; \\d+ are free in .*\\): ' +
          ".*optimizer\\.safetensors' .*: EFBIG.*There is no earlier one\\.",
      ),
    );
    expect(await readdir(join(out, 'checkpoints'))).toEqual([]);
  });
});

describe('a folder that can no longer be written', () => {
  it('leaves the newest checkpoint', async () => {
    const trainer = eventfulTrainer(pipeline, { output_dir: out });
    const training = trainer.train();
    await training.next();
    const checkpoints = join(out, 'checkpoints');
    await rename(checkpoints, join(out, 'moved'));
    await writeFile(checkpoints, ''); // a file in its place: permissions do not stop root
    await expect(training.next()).rejects.toThrow(/^Checkpoint: cannot write .*checkpoint_2 \(\d+ bytes.*\): ENOTDIR/);
    trainer.dispose();
    await rm(checkpoints);
    await rename(join(out, 'moved'), checkpoints);
    await run(out);
    expect(await filesOf(out)).toEqual(expected);
  });
});
