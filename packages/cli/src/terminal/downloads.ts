import type { DownloadProgress, HubAccess } from '@alignprop/autograd-ext/weights';
import type { Output } from './output.js';
import type { Progress } from './progress.js';

/** Milliseconds between two drawings of a bar. */
const INTERVAL = 100;

/**
 * Calls `load` with options of the hub that show its downloads on stderr and print its warnings. In a terminal, a bar
 * shows the size, the rate and the time left of one file at a time; elsewhere, and with HF_HUB_DISABLE_PROGRESS_BARS, a
 * line names each file.
 */
export async function withDownloads<T>(output: Output, load: (access: HubAccess) => Promise<T>): Promise<T> {
  const named = new Set<string>();
  let bar: FileBar | undefined;
  const progress = (file: DownloadProgress): void => {
    const name = `${file.id}/${file.path}`;
    if (bar?.name === name) {
      if (bar.update(file)) bar = undefined;
    } else if (!named.has(name)) {
      named.add(name);
      if (bar === undefined && hasBars()) bar = new FileBar(output, name, file);
      else output.info(`Downloading ${file.path}${file.total === undefined ? '' : ` (${bytes(file.total)})`}`);
    }
  };
  try {
    return await load({ progress, onWarning: (message) => output.warn(message) });
  } finally {
    bar?.stop();
  }
}

const hasBars = (): boolean =>
  process.stderr.isTTY && !/^(1|true|yes|on)$/i.test(process.env.HF_HUB_DISABLE_PROGRESS_BARS ?? '');

/** The bar of one file. */
class FileBar {
  readonly #started = performance.now();
  readonly #from: number;
  readonly #bar: Progress;
  #drawn = 0;

  constructor(
    output: Output,
    readonly name: string,
    { path, received, total }: DownloadProgress,
  ) {
    this.#from = received;
    const label = `Downloading ${shortened(path)}`;
    const options = { from: received, started: this.#started, format: bytes, isSteady: true };
    this.#bar = output.progress(label, total ?? received, options);
  }

  /** Returns whether the file is complete, after which the bar stays as it is. */
  update({ received, total }: DownloadProgress): boolean {
    const now = performance.now();
    const isComplete = received === total;
    if (!isComplete && now - this.#drawn < INTERVAL) return false;
    this.#drawn = now;
    const rate = (1000 * Math.max(0, received - this.#from)) / (now - this.#started);
    this.#bar.update(received, `${bytes(rate)}/s`);
    if (isComplete) this.stop();
    return isComplete;
  }

  stop(): void {
    this.#bar.stop();
  }
}

/** Shortens a path in its middle, so that a bar fits in 80 columns. */
const shortened = (path: string): string => (path.length > 24 ? `${path.slice(0, 11)}…${path.slice(-12)}` : path);

/** Formats a number of bytes: `12.3 MB`. */
function bytes(count: number): string {
  const [size, unit] = count < 1e6 ? [count / 1e3, 'kB'] : count < 1e9 ? [count / 1e6, 'MB'] : [count / 1e9, 'GB'];
  return `${size.toFixed(1)} ${unit}`;
}
