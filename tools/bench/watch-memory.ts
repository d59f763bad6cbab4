import { readdirSync, readFileSync } from 'node:fs';

/**
 * Polls the memory of a process and of those that it started once a second: Linux's proportional set size, which counts
 * pages of a file mapped twice once, unlike the resident set size.
 * @returns a function that stops polling and returns the peak in bytes; undefined where the system does not report it
 */
export function watchMemory(pid: number): () => number | undefined {
  let peak: number | undefined;
  const look = () => {
    const kilobytes = proportional(pid);
    if (kilobytes) peak = Math.max(peak ?? 0, 1024 * kilobytes);
  };
  const timer = setInterval(look, 1000);
  return () => (clearInterval(timer), peak);
}

function proportional(pid: number): number {
  try {
    const own = Number(/^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0);
    return childrenOf(pid).reduce((sum, child) => sum + proportional(child), own);
  } catch {
    return 0; // the process has ended, or this is not Linux
  }
}

const childrenOf = (pid: number): readonly number[] =>
  readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    (readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').match(/\d+/g) ?? []).map(Number),
  );
