import { isatty } from 'node:tty';
import colors from 'picocolors';
import type { Command } from 'commander';
import { maskSecrets } from '@alignprop/autograd-ext/outside';
import { printableLines } from './errors.js';
import { startProgress, type Progress, type ProgressOptions } from './progress.js';
import { table } from './table.js';
import { fitted } from './wrap.js';

export interface OutputOptions {
  /** Prints results as JSON, one object a line. */
  json?: boolean;
  /** Prints no progress and no messages, only tables, JSON records, warnings and errors. */
  quiet?: boolean;
  /** Prints nothing: of several processes, only rank 0 prints. */
  silent?: boolean;
}

/** Prints the output of a command: results on stdout, everything else on stderr; secrets are masked. */
export class Output {
  readonly #options: OutputOptions;
  readonly #stderr = colors.createColors(colors.isColorSupported && isatty(process.stderr.fd));
  /** Shown at the end of stderr. */
  #progress: Progress | undefined;

  constructor(options: OutputOptions = {}) {
    this.#options = options;
  }

  /** Prints a result: `record` with --json, else `text`, if there is one. */
  result(record: Readonly<Record<string, unknown>>, text?: string): void {
    if (this.#options.silent) return;
    if (this.#options.json) this.#print(process.stdout, JSON.stringify(maskSecrets(record)));
    else if (text !== undefined && !this.#options.quiet) this.#print(process.stdout, printableLines(text));
  }

  /** Prints a table, except with --json: there `result` prints the same data as records. */
  table(rows: readonly (readonly string[])[]): void {
    if (!this.#options.json && !this.#options.silent)
      process.stdout.write(`${printableLines(maskSecrets(table(rows)))}\n`);
  }

  /** Prints rows of texts, the first columns padded; except with --json, as `table`. */
  list(rows: readonly (readonly string[])[]): void {
    if (this.#options.json || this.#options.silent) return;
    const widths = rows[0]!.slice(0, -1).map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
    const lines = rows.map((row) => row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  '));
    process.stdout.write(`${printableLines(maskSecrets(lines.join('\n')))}\n`);
  }

  info(text: string): void {
    if (!this.#options.quiet && !this.#options.silent)
      this.#print(process.stderr, this.#stderr.dim(fitted(printableLines(text))));
  }

  warn(text: string): void {
    if (this.#options.silent) return;
    const lines = fitted(`warning: ${printableLines(text)}`);
    this.#print(process.stderr, lines.replace('warning:', this.#stderr.yellow('warning:')));
  }

  progress(label: string, total: number, options?: ProgressOptions): Progress {
    if (this.#options.quiet || this.#options.silent) return { update: () => {}, erase: () => {}, stop: () => {} };
    const progress = startProgress(label, total, options);
    this.#progress = progress;
    return {
      ...progress,
      stop: () => {
        if (this.#progress === progress) this.#progress = undefined;
        progress.stop();
      },
    };
  }

  /** Writes a text in place of the progress bar, which its next update draws again, below. */
  #print(stream: NodeJS.WriteStream, text: string): void {
    this.#progress?.erase();
    stream.write(`${maskSecrets(text)}\n`);
  }
}

/** Adds `--json` and `--quiet`, which every command has. */
export function addOutputOptions(command: Command): Command {
  return command
    .optionsGroup('Output:')
    .option('--json', 'Print results to stdout as JSON, one object a line.')
    .option('--quiet', 'Print no progress and no messages, only tables, --json records, warnings and errors.');
}
