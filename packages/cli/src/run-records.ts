import { readFile } from 'node:fs/promises';
import { parseJson } from '@alignprop/autograd-ext/outside';
import { ifPresent } from '@alignprop/autograd-ext/weights';

/** A line of metrics.jsonl or evaluations.jsonl. NaN stands for null, as JSON writes it, and for any other value. */
export type RunRecord = Readonly<Record<string, number>>;

/** The lines of a file of records. */
export interface RunRecords {
  readonly records: readonly RunRecord[];
  /** The numbers of lines that cannot be read, from 1; without a last one that is still being written. */
  readonly damaged: readonly number[];
}

/** Reads the records of a run from a file with a JSON object a line; none if there is no such file. */
export async function readRecords(path: string): Promise<RunRecords> {
  const lines = ((await ifPresent(readFile(path, 'utf8'))) ?? '').split('\n');
  const parsed = lines.map(parseLine);
  const damaged = parsed.flatMap((record, i) => (record === undefined && i < lines.length - 1 ? [i + 1] : []));
  return { records: parsed.filter((record) => record !== undefined), damaged };
}

function parseLine(line: string): RunRecord | undefined {
  try {
    const value = parseJson(line);
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
    const numbers = Object.entries(value).map(([key, inner]) => [key, typeof inner === 'number' ? inner : NaN]);
    return Object.fromEntries(numbers) as RunRecord;
  } catch {
    return undefined;
  }
}
