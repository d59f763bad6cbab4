import { basename } from 'node:path';
import type { Command } from 'commander';
import { UsageError } from '../terminal/errors.js';
import { embeddedAdapter } from '../embedded-model.js';
import { parseNumber } from './option-parsers.js';
import { pathExists } from '../path-exists.js';

/** An adapter as `--lora` names it. */
export interface LoraChoice {
  /** A file, a folder, a hub id or `org/name/path`. */
  readonly source: string;
  /** The strength behind the colon; undefined where there is none. */
  readonly weight?: number;
}

/** Values of the options that select adapters. */
export interface LoraOptions {
  lora?: readonly LoraChoice[];
  /** The name of the file within folders and repositories. */
  loraFile?: string;
  /** The strength of adapters without one of their own. */
  loraScale: number;
}

/** Adds `--lora`, `--lora-file` and `--lora-scale`. */
export const addLoraOptions = (command: Command): Command =>
  command
    .option(
      '--lora <adapter[:weight]>',
      'Adapter: a file of any program, a folder, or of the hub org/name or org/name/file. ' +
        'May be given several times, each with its strength.',
      collectLora,
    )
    .option('--lora-file <name>', 'Name of the file in a folder or repository with several.')
    .option('--lora-scale <n>', 'Strength of adapters that are given without a weight.', parseNumber, 1);

/**
 * Parses `source` or `source:weight`, and adds it to those given before. A file may have a colon in its name.
 * @throws UsageError if something else than a number follows the colon after a file that is there
 */
export function collectLora(text: string, previous: readonly LoraChoice[] = []): readonly LoraChoice[] {
  const [, source, weight] = pathExists(text)
    ? []
    : (/^(.+):([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)$/i.exec(text) ?? []);
  if (!source) checkWeight(text);
  const choice = source && weight ? { source, weight: Number(weight) } : { source: text };
  return [...previous, { ...choice, source: adapterLocation(choice.source) }];
}

/** The path of an adapter that the package has, for its name; any other source itself. */
const adapterLocation = (source: string): string =>
  source === embeddedAdapter.name && !pathExists(source) ? embeddedAdapter.path : source;

/** @throws UsageError if a text is the path of a file, a colon and something else than a number */
function checkWeight(text: string): void {
  const [, source, weight] = /^(.+):([^:]*)$/.exec(text) ?? [];
  if (source && !pathExists(text) && pathExists(source))
    throw new UsageError(
      `--lora: the weight of '${source}' got '${weight}', expected a number such as 0.8. Write 'file:0.8'.`,
    );
}

/** Describes adapters and their strengths in a line: `style.safetensors: 0.8, fox.safetensors: 1`. */
export const describeLoras = ({ lora = [], loraScale }: LoraOptions): string =>
  lora.map(({ source, weight = loraScale }) => `${basename(source)}: ${weight}`).join(', ');
