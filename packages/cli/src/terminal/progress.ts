import { terminalColumns } from './wrap.js';

export interface Progress {
  /** @param details shown after the count, such as the metrics of a step */
  update(done: number, details?: string): void;
  /** Erases the bar, so that something else can be written. Its next update draws it again. */
  erase(): void;
  stop(): void;
}

export interface ProgressOptions {
  /** Steps done by an earlier run, left out of the estimate of the remaining time. */
  from?: number;
  /** Start of the first step, in performance.now() milliseconds. */
  started?: number;
  /** Whether the first step is as fast as the others. By default it also compiles, and is left out of the estimate. */
  isSteady?: boolean;
  /** Formats the count and the total of a bar, such as bytes. */
  format?: (count: number) => string;
}

/**
 * Shows progress and the estimated remaining time on stderr: a bar in a terminal, elsewhere one line a step. A first
 * step that also compiles gives an upper bound ("under 0:30 left"), and later estimates leave it out.
 */
export function startProgress(
  label: string,
  total: number,
  { from = 0, started = performance.now(), format = String, isSteady = false }: ProgressOptions = {},
): Progress {
  let first = isSteady ? { done: from, at: started } : undefined;
  const remaining = (done: number): string => {
    if (done <= from) return '';
    const now = performance.now();
    first ??= { done, at: now };
    if (done >= total) return '';
    const isFirst = done <= first.done;
    const rate = isFirst ? (now - started) / (done - from) : (now - first.at) / (done - first.done);
    return `${isFirst ? 'under ' : ''}${clock((rate / 1000) * (total - done))} left`;
  };
  if (terminalColumns() === undefined) return lines({ label, total, from, format }, remaining);
  return bar((done, details) => {
    const parts = { count: `${label} ${format(done)}/${format(total)}`, details, left: remaining(done) };
    return fittingLine({ ...parts, share: done / total }, terminalColumns()!);
  }, from);
}

/** The content of a line of progress. */
export interface ProgressParts {
  /** Label, count and total. */
  readonly count: string;
  /** The part of the bar that is filled, from 0 to 1. */
  readonly share: number;
  /** Separated by commas. */
  readonly details: string;
  /** The remaining time. */
  readonly left: string;
}

/**
 * Fits a line into a terminal, whose last column stays free, since a character there may move the cursor to the next
 * line. Leaves out the last of the details first, then the bar, and the remaining time last.
 */
export function fittingLine({ count, share, details, left }: ProgressParts, columns: number): string {
  const size = Math.min(20, Math.max(5, columns - 80));
  const filled = Math.round(size * Math.min(1, Math.max(0, share)));
  const withBar = `${count} ${'█'.repeat(filled)}${'░'.repeat(size - filled)}`;
  const pieces = details === '' ? [] : details.split(', ');
  const texts = [...pieces, ''].map((_, i) => [...pieces.slice(0, pieces.length - i), left].filter(Boolean).join(', '));
  const candidates = [...texts.map((text) => `${withBar} ${text}`), `${count} ${left}`, count];
  const line = candidates.find((candidate) => candidate.length < columns) ?? count.slice(0, Math.max(0, columns - 1));
  return line.trimEnd();
}

/**
 * Draws a bar with a carriage return and "erase to the end of the line" alone, so that a process that is killed leaves
 * no mode of the terminal changed.
 */
function bar(lineOf: (done: number, details: string) => string, from: number): Progress {
  let isDrawn = false;
  const draw = (done: number, details: string): void => {
    process.stderr.write(`\r${lineOf(done, details)}\x1b[K`);
    isDrawn = true;
  };
  draw(from, '');
  return {
    update: (done, details = '') => draw(done, details),
    erase: () => {
      if (isDrawn) process.stderr.write('\r\x1b[K');
      isDrawn = false;
    },
    stop: () => {
      if (isDrawn) process.stderr.write('\n');
      isDrawn = false;
    },
  };
}

/** Writes a line whenever the formatted count changes. */
function lines(
  { label, total, from, format }: { label: string; total: number } & Required<Pick<ProgressOptions, 'from' | 'format'>>,
  remaining: (done: number) => string,
): Progress {
  let written = format(from);
  return {
    update: (done, details = '') => {
      if (format(done) === written) return;
      written = format(done);
      const text = [details, remaining(done)].filter(Boolean).join(', ');
      process.stderr.write(`${`${label} ${written}/${format(total)} ${text}`.trimEnd()}\n`);
    },
    erase: () => {},
    stop: () => {},
  };
}

/** Formats a duration, rounded up: `0:42`, `12:03`, `3:20:00`. */
export function clock(seconds: number): string {
  const whole = Math.ceil(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60].map((part) => `${part}`);
  return h === '0' ? `${m!}:${s!.padStart(2, '0')}` : `${h!}:${m!.padStart(2, '0')}:${s!.padStart(2, '0')}`;
}
