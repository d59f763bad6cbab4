import { evaluationRecord, metricsRecord } from '../metrics.js';
import type { Tracker } from './tracker.js';

/**
 * Appends one JSON object a step to a file, and one an evaluation to another.
 * @param path that of the steps; the other is evaluations.jsonl beside it
 * @param fromStep lines of this step and later ones, left by a run that went on past its last checkpoint, are removed first
 */
export async function jsonlTracker(path: string, fromStep = 0): Promise<Tracker> {
  const evaluations = path.replace(/[^\\/]*$/, 'evaluations.jsonl');
  const { appendFile, rm, writeFile } = await import('node:fs/promises');
  await writeFile(path, await linesBefore(path, fromStep));
  // That of step N is made before the checkpoint of step N is written.
  const earlier = await linesBefore(evaluations, fromStep > 0 ? fromStep + 1 : 0);
  if (earlier) await writeFile(evaluations, earlier);
  else await rm(evaluations, { force: true });
  return {
    log: (metrics) => appendFile(path, `${JSON.stringify(metricsRecord(metrics))}\n`),
    logEvaluation: (metrics) => appendFile(evaluations, `${JSON.stringify(evaluationRecord(metrics))}\n`),
    close: () => {},
  };
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
