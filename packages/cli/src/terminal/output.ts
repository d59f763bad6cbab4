import { isatty } from 'node:tty';
import colors from 'picocolors';
import type { Command } from 'commander';
import { startProgress, type Progress, type ProgressOptions } from './progress.js';
import { table } from './table.js';

export interface OutputOptions {
  /** Results as one JSON object a line. */
  json?: boolean;
  /** No progress and no remarks; warnings stay. */
  quiet?: boolean;
  /** Nothing at all: of several processes one speaks. */
  silent?: boolean;
}

/** What a command says: results on stdout, everything else on stderr. */
export class Output {
  readonly #options: OutputOptions;
  readonly #stderr = colors.createColors(colors.isColorSupported && isatty(process.stderr.fd));
  #bar = false;

  constructor(options: OutputOptions = {}) {
    this.#options = options;
  }

  /** A result, in words or, with --json, as a record. */
  result(record: Readonly<Record<string, unknown>>, text?: string): void {
    if (this.#options.silent) return;
    if (this.#options.json) process.stdout.write(`${JSON.stringify(record)}\n`);
    else if (text !== undefined && !this.#options.quiet) this.#clear(() => process.stdout.write(`${text}\n`));
  }

  /** Results that are records with --json and a table without. */
  table(rows: readonly (readonly string[])[]): void {
    if (!this.#options.json && !this.#options.silent) process.stdout.write(`${table(rows)}\n`);
  }

  info(text: string): void {
    if (!this.#options.quiet && !this.#options.silent)
      this.#clear(() => process.stderr.write(`${this.#stderr.dim(text)}\n`));
  }

  warn(text: string): void {
    if (!this.#options.silent) this.#clear(() => process.stderr.write(`${this.#stderr.yellow('warning:')} ${text}\n`));
  }

  progress(label: string, total: number, options?: ProgressOptions): Progress {
    if (this.#options.quiet || this.#options.silent) return { update: () => {}, stop: () => {} };
    const { update, stop } = startProgress(label, total, options);
    this.#bar = process.stderr.isTTY;
    return {
      update,
      stop: () => {
        this.#bar = false;
        stop();
      },
    };
  }

  /** Writes in place of the bar, which comes back below with its next update. */
  #clear(write: () => void): void {
    if (this.#bar) process.stderr.write('\r\x1b[K');
    write();
  }
}

/** Adds the options that every command has. */
export function outputOptions(command: Command): Command {
  return command
    .optionsGroup('Output:')
    .option('--json', 'Print results to stdout as JSON, one object a line.')
    .option('--quiet', 'Print no progress and no remarks.');
}
