import type { Command } from 'commander';
import { writeFileAtomic } from '@alignprop/autograd-ext/weights';
import { addMaxImages, type PictureOptions } from '../options/picture-options.js';
import { reportContent } from '../report/content.js';
import { reportPage } from '../report/page.js';
import { readRuns } from '../report/reported-run.js';
import { PictureReader } from '../report/run-pictures.js';
import { UsageError } from '../terminal/errors.js';
import { addOutputOptions, Output, type OutputOptions } from '../terminal/output.js';

interface ReportOptions extends OutputOptions, PictureOptions {
  output?: string;
}

/** Adds the arguments, options and action of `alignprop report`. */
export function defineCommand(command: Command): void {
  command.argument('<folders...>', 'Folders of runs, which may go on, have stopped or have ended.');
  addMaxImages(command.optionsGroup('Page:'));
  addOutputOptions(command)
    .option('-o, --output <file>', 'HTML file to write. (default: report.html in the folder, or here for several)')
    .addHelpText('after', help)
    .action((folders: readonly string[], options: ReportOptions) => report(folders, options));
}

const help = `
Writes one page that needs no network: curves, pictures over time, before and after, settings, and the command that
trains in the same way again. Several runs are compared in the same charts.

Examples:
  $ alignprop report out
  $ alignprop report out other -o compared.html`;

async function report(folders: readonly string[], options: ReportOptions): Promise<void> {
  const output = new Output(options);
  const path = options.output ?? (folders.length === 1 ? `${folders[0]!}/report.html` : 'report.html');
  if (!/\.html?$/i.test(path))
    throw new UsageError(`--output: got '${path}', expected a name that ends in .html. Give such a name.`);
  const runs = await readRuns('report', folders, new PictureReader(options.maxImages));
  const page = await reportPage(reportContent(runs));
  await writeFileAtomic(path, page).catch((cause: unknown) => {
    const why = (cause as Error).message;
    throw new Error(`output: cannot write to '${path}': ${why}. Choose another file.`, { cause });
  });
  const bytes = Buffer.byteLength(page);
  output.result({ event: 'report', path, bytes }, `Report   ${path} (${(bytes / 1e6).toFixed(1)} MB)`);
}
