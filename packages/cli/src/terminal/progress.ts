import { SingleBar } from 'cli-progress';

export interface Progress {
  /** @param details shown behind the count: numbers of this step */
  update(done: number, details?: string): void;
  stop(): void;
}

export interface ProgressOptions {
  /** What was done before: it tells nothing about the time that is left. */
  from?: number;
  /** When the work began, by performance.now(). */
  started?: number;
}

/**
 * Shows how far work has come, on stderr: as a bar in a terminal, as a line a step elsewhere.
 */
export function startProgress(
  label: string,
  total: number,
  { from = 0, started = performance.now() }: ProgressOptions = {},
): Progress {
  const text = (done: number, details: string): string => {
    const left = done > from ? ((performance.now() - started) / (done - from)) * (total - done) : undefined;
    return [details, left !== undefined && done < total && `${clock(left / 1000)} left`].filter(Boolean).join(', ');
  };
  if (!process.stderr.isTTY) return lines(label, total, text);
  const barsize = Math.min(20, Math.max(5, process.stderr.columns - 80));
  // Without its own handling of Ctrl-C, and without hiding the cursor: a process that is killed could not show it
  // again.
  const bar = new SingleBar({
    format: `${label} {value}/{total} {bar} {text}`,
    stream: process.stderr,
    barsize,
    gracefulExit: false,
    hideCursor: false,
    barCompleteChar: '█',
    barIncompleteChar: '░',
  });
  bar.start(total, from, { text: '' });
  return {
    update(done, details = '') {
      bar.update(done, { text: text(done, details) });
      bar.render();
    },
    stop: () => bar.stop(),
  };
}

function lines(label: string, total: number, text: (done: number, details: string) => string): Progress {
  return {
    update: (done, details = '') =>
      void process.stderr.write(`${`${label} ${done}/${total} ${text(done, details)}`.trimEnd()}\n`),
    stop: () => {},
  };
}

/** `0:42`, `12:03` or `3:20:00`. */
export function clock(seconds: number): string {
  const whole = Math.ceil(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60].map((part) => `${part}`);
  return h === '0' ? `${m!}:${s!.padStart(2, '0')}` : `${h!}:${m!.padStart(2, '0')}:${s!.padStart(2, '0')}`;
}
