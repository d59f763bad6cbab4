// Every operation on files fails once: the run ends with an error, and nothing is lost. A sample of the points by
// default; with EVERY_FAULT=EIO all points of a run with this error, with EVERY_FAULT=1 with all errors.
import { cp, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { random, useBackend } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventfulTrainer, filesOf } from '../__fixtures__/eventful-run.js';
import { faultCodes, faultyDisk, listOperations, requestedFaults } from '../__fixtures__/failing-disk.js';
import { collect, tinyPipeline } from '../__fixtures__/tiny-run.js';

let pipeline: StableDiffusionPipeline;
let parent: string; // of the runs' folders
let expected: Record<string, unknown>; // files of a run without faults

beforeAll(async () => {
  await useBackend('wasm');
  pipeline = await tinyPipeline();
  parent = await mkdtemp(join(tmpdir(), 'alignprop-'));
  await run(join(parent, 'whole'));
  expected = await filesOf(join(parent, 'whole'));
});
afterAll(() => rm(parent, { recursive: true, force: true }));

/** Starts the run in a folder, or resumes it. @returns its messages; `error`, if it failed */
async function run(folder: string, num_epochs = 3): Promise<{ messages: string[]; error?: Error }> {
  const messages: string[] = [];
  const log = (message: string) => void messages.push(message);
  const config = { output_dir: folder, resume_from: folder, num_epochs, log_with: 'tensorboard' as const };
  const trainer = eventfulTrainer(pipeline, config, { info: log, warn: log });
  try {
    await collect(trainer);
    return { messages };
  } catch (error) {
    return { messages, error: error as Error };
  } finally {
    trainer.dispose();
  }
}

/** The operation that fails, by its number, and its error. */
interface Point {
  readonly n: number;
  readonly code: string;
}

/**
 * The points to try of a run's operations: the first and the last of each kind on each file, a `count` of them spread
 * evenly, with one error each; with EVERY_FAULT, all of them.
 */
function points(operations: readonly string[], count: number, seed: number): readonly Point[] {
  const isEdge = (operation: string, i: number) =>
    operations.indexOf(operation) === i || operations.lastIndexOf(operation) === i;
  const numbers = operations.flatMap((operation, i) => (isEdge(operation, i) ? [i + 1] : []));
  if (requestedFaults.length > 0) return requestedFaults.flatMap((code) => numbers.map((n) => ({ n, code })));
  return [...random(seed).rand(count)].map((draw, i) => ({
    n: numbers[Math.floor(((i + draw) * numbers.length) / count)]!,
    code: faultCodes[i % faultCodes.length]!,
  }));
}

/** The files of a run besides event files and the lock, with the names of the folders moved aside. */
async function outcome(folder: string): Promise<Record<string, unknown>> {
  const all = Object.entries(await filesOf(folder)).filter(([path]) => !path.startsWith('trl/'));
  const beside = (await readdir(parent)).filter((name) => name.startsWith(`${basename(folder)}.`));
  return { ...Object.fromEntries(all), ...(beside.length > 0 && { beside }) };
}

/** The number of steps whose checkpoint or metrics are in a folder. */
async function progressOf(folder: string): Promise<{ checkpoint: number; rows: number }> {
  const names = await readdir(join(folder, 'checkpoints')).catch(() => []);
  const steps = names.flatMap((name) => /^checkpoint_(\d+)$/.exec(name)?.[1] ?? []).map(Number);
  const rows = await readFile(join(folder, 'metrics.jsonl'), 'utf8').catch(() => '');
  return { checkpoint: Math.max(0, ...steps), rows: rows.split('\n').length - 1 };
}

describe.each([
  { name: 'that starts', steps: 0, count: 5 },
  { name: 'that is resumed', steps: 2, count: 5 },
])('a run $name', ({ name, steps, count }) => {
  it('ends with an error where an operation on files fails, loses nothing, and resumes to the same files', async () => {
    const base = join(parent, `base-${steps}`);
    if (steps > 0) expect(await run(base, steps)).not.toHaveProperty('error');
    const prepare = async (folder: string) => {
      if (steps > 0) await cp(base, folder, { recursive: true });
      return folder;
    };
    const counted = await prepare(join(parent, `counted-${steps}`));
    const operations = await listOperations(counted, () => run(counted));
    const tried = points(operations, count, 3);
    const tally = { failed: 0, unaffected: 0, lost: [] as string[] };
    for (const { n, code } of tried) {
      const folder = await prepare(join(parent, `run-${steps}-${n}-${code}`));
      const fault = faultyDisk(folder, n, code);
      const { error, messages } = await run(folder).finally(fault.end);
      const place = `${code} in operation ${n} of ${operations.length}, ${fault.operation}`;
      await rm(join(folder, 'run.lock'), { recursive: true, force: true }); // as if the process had ended
      const problems = await problemsOf(folder, { steps, error, messages, code });
      if (problems.length > 0) tally.lost.push(`${place}: ${problems.join('; ')}`);
      tally[error ? 'failed' : 'unaffected']++;
      for (const path of (await readdir(parent)).filter((other) => other.startsWith(basename(folder))))
        await rm(join(parent, path), { recursive: true });
    }
    const { lost, ...counts } = tally;
    const numbers = { operations: operations.length, points: tried.length, ...counts, lost: lost.length };
    process.stdout.write(`a run ${name}: ${JSON.stringify(numbers)}\n`);
    expect(lost).toEqual([]);
    expect(tally.failed).toBeGreaterThan(tried.length / 2);
  });
});

interface FaultyRun {
  /** Steps of the run before the fault. */
  readonly steps: number;
  readonly error: Error | undefined;
  readonly messages: readonly string[];
  readonly code: string;
}

/** Says what a fault has lost or hidden. */
async function problemsOf(folder: string, { steps, error, messages, code }: FaultyRun): Promise<string[]> {
  const problems: string[] = [];
  const without = (files: Record<string, unknown>) =>
    Object.fromEntries(Object.entries(files).filter(([path]) => !path.startsWith('trl/')));
  if (error && !error.message.includes(code)) problems.push(`the error does not tell: ${error.message}`);
  if (steps > 0 && messages.join().includes('begins anew')) problems.push('it began anew');
  const { checkpoint, rows } = await progressOf(folder);
  if (checkpoint < steps || rows < steps) problems.push(`has ${checkpoint} steps and ${rows} rows, had ${steps}`);
  if (!error && !isSame(await outcome(folder), without(expected))) problems.push('no error, and files differ');
  const again = await run(folder);
  if (again.error) problems.push(`cannot be resumed: ${again.error.message}`);
  const { beside, ...files } = await outcome(folder);
  if (steps > 0 && beside) problems.push(`moved aside: ${beside as string}`);
  if (!isSame(files, without(expected))) problems.push('resumed to other files');
  return problems;
}

const isSame = (a: Record<string, unknown>, b: Record<string, unknown>): boolean => {
  const sorted = (files: Record<string, unknown>) => JSON.stringify(Object.entries(files).sort());
  return sorted(a) === sorted(b);
};
