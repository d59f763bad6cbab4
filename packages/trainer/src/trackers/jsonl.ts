import { describeSpace, ifPresent, writeFileAtomic } from '@alignprop/autograd-ext/weights';
import { excerptList, parseJson } from '@alignprop/autograd-ext/outside';
import { evaluationRecord, metricsRecord } from './metrics.js';
import type { TrackedRun, TrackerKind } from './tracker-kind.js';
import type { Tracker } from './tracker.js';

/** `log_with: 'jsonl'`, and every run with a folder: metrics.jsonl and evaluations.jsonl in it. */
export const jsonl = {
  description: 'metrics.jsonl alone',
  packages: [],
  create: async ({ folder, ...start }) => folder && jsonlTracker(folder.metrics, start),
} satisfies TrackerKind;

/** The part of a run that a start of it goes on from. */
type JsonlStart = Pick<TrackedRun, 'fromStep' | 'fromEvaluation' | 'warn'>;

/**
 * Appends a line of JSON to a file after each optimizer step, and to another after each evaluation. A line is flushed
 * to the disk before training continues.
 * @param path the file of the steps; evaluations.jsonl beside it is the other
 * @param start first removes the lines of `fromStep` and later ones, which a run wrote after its last checkpoint, and
 *   likewise those of evaluations. The evaluation of step N is usually made before the checkpoint of step N is written,
 *   hence the default of `fromEvaluation`. `warn` is told of lines that are damaged
 */
export async function jsonlTracker(
  path: string,
  { fromStep, fromEvaluation = fromStep > 0 ? fromStep + 1 : 0, warn }: JsonlStart,
): Promise<Tracker> {
  const evaluations = path.replace(/[^\\/]*$/, 'evaluations.jsonl');
  const { rm } = await import('node:fs/promises');
  await writeFileAtomic(path, await linesBefore(path, fromStep, warn));
  const earlier = await linesBefore(evaluations, fromEvaluation, warn);
  if (earlier) await writeFileAtomic(evaluations, earlier);
  else await rm(evaluations, { force: true });
  return {
    log: (metrics) => append(path, `${JSON.stringify(metricsRecord(metrics))}\n`),
    logEvaluation: (metrics) => append(evaluations, `${JSON.stringify(evaluationRecord(metrics))}\n`),
    close: () => {},
  };
}

async function append(path: string, line: string): Promise<void> {
  const { appendFile } = await import('node:fs/promises');
  const { dirname } = await import('node:path');
  try {
    await appendFile(path, line, { flush: true });
  } catch (cause) {
    throw new Error(
      `${path}: cannot append ${await describeSpace(Buffer.byteLength(line), dirname(path))}: ` +
        `${(cause as Error).message}. ` +
        'Make room or choose another output_dir, and resume from the newest checkpoint.',
      { cause },
    );
  }
}

/**
 * Returns the lines of a file before those of a step. A last line without an end, which a crash cut off, is removed;
 * another line that cannot be read stays in its place, with a warning.
 */
async function linesBefore(path: string, step: number, warn: JsonlStart['warn']): Promise<string> {
  const { readFile } = await import('node:fs/promises');
  if (step === 0) return '';
  const lines = ((await ifPresent(readFile(path, 'utf8'))) ?? '').split('\n');
  const steps = lines.map(stepOfLine);
  if (steps.at(-1) === undefined) lines.pop();
  const later = steps.findIndex((number) => number !== undefined && number >= step);
  const kept = lines.slice(0, later < 0 ? undefined : later);
  const damaged = kept.flatMap((_, i) => (steps[i] === undefined ? [i + 1] : []));
  if (damaged.length > 0)
    warn(`${path}: line ${excerptList(damaged.map(String))} got no JSON with a global_step. It is left as it is.`);
  return kept.map((line) => `${line}\n`).join('');
}

/** The step of a line; undefined if it is not JSON, or has none. */
function stepOfLine(line: string): number | undefined {
  try {
    const { global_step } = parseJson(line) as { readonly global_step?: unknown };
    return typeof global_step === 'number' ? global_step : undefined;
  } catch {
    return undefined;
  }
}
