import { readdirSync, readFileSync } from 'node:fs';

/** Bytes of resident memory of a process and of those that it started. */
interface Resident {
  readonly all: number;
  /** Without pages of files. */
  readonly own: number;
}

/**
 * Polls the memory of a process and of those that it started: Linux's proportional set size, which counts pages of a
 * file mapped twice once, unlike the resident set size. Reading it walks through all pages, a tenth of a second for
 * 5 GB, so it is read only when the resident set has grown.
 * @returns a function that stops polling and returns the peak in bytes; undefined where the system does not report it
 */
export function watchMemory(pid: number): () => number | undefined {
  let peak: number | undefined;
  let largest: Resident = { all: 0, own: 0 };
  const look = () => {
    const { all, own } = residentOf(pid);
    if (all <= largest.all && own <= largest.own) return;
    largest = { all: Math.max(all, largest.all), own: Math.max(own, largest.own) };
    peak = Math.max(peak ?? 0, proportionalOf(pid));
  };
  const timer = setInterval(look, 250);
  return () => (clearInterval(timer), peak);
}

const residentOf = (pid: number): Resident => ({
  all: sum(pid, 'status', 'VmRSS'),
  own: sum(pid, 'status', 'RssAnon'),
});

const proportionalOf = (pid: number): number => sum(pid, 'smaps_rollup', 'Pss');

/** Adds up a field of a file in /proc for a process and those that it started, in bytes. */
function sum(pid: number, file: string, field: string): number {
  try {
    const text = readFileSync(`/proc/${pid}/${file}`, 'utf8');
    const own = 1024 * Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0);
    return childrenOf(pid).reduce((total, child) => total + sum(child, file, field), own);
  } catch {
    return 0; // the process has ended, or this is not Linux
  }
}

const childrenOf = (pid: number): readonly number[] =>
  readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    (readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').match(/\d+/g) ?? []).map(Number),
  );
