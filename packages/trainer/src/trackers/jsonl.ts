import { describeSpace, ifPresent, writeFileAtomic } from '@alignprop/autograd-ext/weights';
import { parseJson } from '@alignprop/autograd-ext/outside';
import { evaluationRecord, metricsRecord } from './metrics.js';
import type { TrackerKind } from './tracker-kind.js';
import type { Tracker } from './tracker.js';

/** `log_with: 'jsonl'`, and every run with a folder: metrics.jsonl and evaluations.jsonl in it. */
export const jsonl = {
  description: 'metrics.jsonl alone',
  packages: [],
  create: async ({ folder, fromStep, fromEvaluation }) =>
    folder && jsonlTracker(folder.metrics, fromStep, fromEvaluation),
} satisfies TrackerKind;

/**
 * Appends a line of JSON to a file after each optimizer step, and to another after each evaluation. A line is flushed
 * to the disk before training continues.
 * @param path the file of the steps; evaluations.jsonl beside it is the other
 * @param fromStep first removes the lines of this step and later ones, which a run wrote after its last checkpoint
 * @param fromEvaluation likewise for evaluations. The evaluation of step N is usually made before the checkpoint of
 *   step N is written, hence the default
 */
export async function jsonlTracker(
  path: string,
  fromStep = 0,
  fromEvaluation = fromStep > 0 ? fromStep + 1 : 0,
): Promise<Tracker> {
  const evaluations = path.replace(/[^\\/]*$/, 'evaluations.jsonl');
  const { rm } = await import('node:fs/promises');
  await writeFileAtomic(path, await linesBefore(path, fromStep));
  const earlier = await linesBefore(evaluations, fromEvaluation);
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

async function linesBefore(path: string, step: number): Promise<string> {
  const { readFile } = await import('node:fs/promises');
  const text = (await ifPresent(readFile(path, 'utf8'))) ?? '';
  const earlier = text.split('\n').filter((line) => isBefore(line, step));
  return earlier.map((line) => `${line}\n`).join('');
}

/** False also for a line that a crash cut off: it is not JSON. */
function isBefore(line: string, step: number): boolean {
  try {
    return (parseJson(line) as { global_step: number }).global_step < step;
  } catch {
    return false;
  }
}
