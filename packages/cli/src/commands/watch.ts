import { once } from 'node:events';
import type { Command } from 'commander';
import { integerParser } from '../options/option-parsers.js';
import { addMaxImages, type PictureOptions } from '../options/picture-options.js';
import { LiveReport } from '../report/live-report.js';
import { serveReport } from '../report/serve-report.js';
import type { Interrupted } from '../terminal/errors.js';
import { interruptible } from '../terminal/interrupt.js';
import { addOutputOptions, Output, type OutputOptions } from '../terminal/output.js';

interface WatchOptions extends OutputOptions, PictureOptions {
  port: number;
}

/** Adds the arguments, options and action of `alignprop watch`. */
export function defineCommand(command: Command): void {
  command.argument('<folders...>', 'Folders of runs, which may go on, have stopped or have ended.');
  addMaxImages(command.optionsGroup('Page:')).option(
    '--port <n>',
    'Port of 127.0.0.1 to serve on; 0 for one that is free.',
    integerParser(0, 65_535),
    0,
  );
  addOutputOptions(command)
    .addHelpText('after', help)
    .action((folders: readonly string[], options: WatchOptions) => watch(folders, options));
}

const help = `
Serves the page of alignprop report to browsers on this machine, and updates it as the runs go on. Ctrl-C ends it; the
runs go on.

Examples:
  $ alignprop watch out
  $ alignprop watch out other --port 8080`;

/** Serves until a signal; Ctrl-C is its usual end, and no failure. */
async function watch(folders: readonly string[], { port, maxImages, ...options }: WatchOptions): Promise<void> {
  const output = new Output(options);
  const report = new LiveReport(folders, maxImages);
  await report.current(); // refuses folders without a run before anything is served
  const served = await serveReport(report, port);
  output.result({ event: 'watching', url: served.url }, `Watching ${folders.join(', ')} at ${served.url}`);
  output.info('Open this address in a browser. Press Ctrl-C to end.');
  const reason = await interruptible(
    async (signal) => {
      await once(signal, 'abort');
      return signal.reason as Interrupted;
    },
    () => output.info('The page is no longer served.'),
  );
  served.close();
  if (reason.signal !== 'SIGINT') throw reason;
}
