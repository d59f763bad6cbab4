import { writeFileAtomic } from '@alignprop/autograd-ext/weights';
import { evaluationRecord, metricsRecord } from '../step/metrics.js';
import type { Tracker } from './tracker.js';

/**
 * Appends one JSON object a step to a file, and one an evaluation to another. Each is on the disk before training goes
 * on.
 * @param path that of the steps; the other is evaluations.jsonl beside it
 * @param fromStep lines of this step and later ones, left by a run that went on past its last checkpoint, are removed
 *   first
 * @param fromEvaluation the same of evaluations; that of step N is usually made before the checkpoint of step N is
 *   written
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
  try {
    await appendFile(path, line, { flush: true });
  } catch (cause) {
    throw new Error(
      `${path}: cannot append ${line.length} bytes: ${(cause as Error).message}. Make room or choose another output_dir, and resume from the newest checkpoint.`,
      { cause },
    );
  }
}

async function linesBefore(path: string, step: number): Promise<string> {
  const { readFile } = await import('node:fs/promises');
  const text = await readFile(path, 'utf8').catch(() => '');
  const kept = text.split('\n').filter((line) => isBefore(line, step));
  return kept.map((line) => `${line}\n`).join('');
}

/** A line that was cut off by a crash is not JSON, and goes too. */
function isBefore(line: string, step: number): boolean {
  try {
    return (JSON.parse(line) as { global_step: number }).global_step < step;
  } catch {
    return false;
  }
}
