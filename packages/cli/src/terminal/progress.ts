import { SingleBar } from 'cli-progress';

export interface Progress {
  /** @param details shown after the count, such as the metrics of a step */
  update(done: number, details?: string): void;
  stop(): void;
}

export interface ProgressOptions {
  /** Steps done by an earlier run, left out of the estimate of the remaining time. */
  from?: number;
  /** Start of the work, in performance.now() milliseconds. */
  started?: number;
  /** Formats the count and the total of a bar, such as bytes. */
  format?: (count: number) => string;
}

/** Shows progress and the estimated remaining time on stderr: a bar in a terminal, elsewhere one line a step. */
export function startProgress(
  label: string,
  total: number,
  { from = 0, started = performance.now(), format = String }: ProgressOptions = {},
): Progress {
  const text = (done: number, details: string, width = Infinity): string => {
    const left = done > from ? ((performance.now() - started) / (done - from)) * (total - done) : undefined;
    return fittingText(details, left !== undefined && done < total ? `${clock(left / 1000)} left` : '', width);
  };
  if (!process.stderr.isTTY) return lines(label, total, text);
  const barsize = Math.min(20, Math.max(5, process.stderr.columns - 80));
  const besideBar = (done: number): number =>
    process.stderr.columns - `${label} ${format(done)}/${format(total)}  `.length - barsize - 1;
  // gracefulExit would handle Ctrl-C, which interrupt.ts does. A hidden cursor would stay hidden if the process is
  // killed.
  const bar = new SingleBar({
    format: `${label} {value}/{total} {bar} {text}`,
    stream: process.stderr,
    barsize,
    formatValue: (value, _, type) => (type === 'value' || type === 'total' ? format(value) : String(value)),
    gracefulExit: false,
    hideCursor: false,
    barCompleteChar: '█',
    barIncompleteChar: '░',
  });
  bar.start(total, from, { text: '' });
  return {
    update(done, details = '') {
      bar.update(done, { text: text(done, details, besideBar(done)) });
      bar.render();
    },
    stop: () => bar.stop(),
  };
}

/**
 * Joins details and the remaining time in at most `width` characters: the last of the comma-separated details are left
 * out first, and the remaining time last.
 */
export function fittingText(details: string, left: string, width: number): string {
  const parts = details === '' ? [] : details.split(', ');
  const joined = (count: number): string => [...parts.slice(0, count), left].filter(Boolean).join(', ');
  const counts = Array.from({ length: parts.length + 1 }, (_, i) => parts.length - i);
  return counts.map(joined).find((text) => text.length <= width) ?? '';
}

function lines(label: string, total: number, text: (done: number, details: string) => string): Progress {
  return {
    update: (done, details = '') =>
      void process.stderr.write(`${`${label} ${done}/${total} ${text(done, details)}`.trimEnd()}\n`),
    stop: () => {},
  };
}

/** Formats a duration, rounded up: `0:42`, `12:03`, `3:20:00`. */
export function clock(seconds: number): string {
  const whole = Math.ceil(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60].map((part) => `${part}`);
  return h === '0' ? `${m!}:${s!.padStart(2, '0')}` : `${h!}:${m!.padStart(2, '0')}:${s!.padStart(2, '0')}`;
}
