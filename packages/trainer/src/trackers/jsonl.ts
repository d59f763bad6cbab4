import { metricsRecord } from '../metrics.js';
import type { Tracker } from './tracker.js';

/**
 * Appends one JSON object a step to a file.
 * @param fromStep lines of this step and later ones, left by a run that went on past its last checkpoint, are removed first
 */
export async function jsonlTracker(path: string, fromStep = 0): Promise<Tracker> {
  const { appendFile, writeFile } = await import('node:fs/promises');
  await writeFile(path, await linesBefore(path, fromStep));
  return {
    log: (metrics) => appendFile(path, `${JSON.stringify(metricsRecord(metrics))}\n`),
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
