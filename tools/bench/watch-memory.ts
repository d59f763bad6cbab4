import { readFileSync } from 'node:fs';

/**
 * Looks once a second at what a process has in memory. Unlike its resident size, this counts pages of a file that it
 * maps twice once (Linux's proportional set size).
 * @returns ends it, and gives the highest number of bytes seen; undefined where the system does not say
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
    return Number(/^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0; // it has ended, or this is not Linux
  }
}
