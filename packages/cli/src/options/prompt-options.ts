import { excerptJson } from '@alignprop/autograd-ext/outside';
import { Option, type Command } from 'commander';
import { UsageError } from '../terminal/errors.js';
import { collectValues } from './option-parsers.js';
import type { ColumnOptions, ReadPrompts } from './prompt-columns.js';
import { joinPrompts, readPrompts, type PromptSource } from './prompt-list.js';

/** The options that say what is trained on and evaluated. */
export interface PromptOptions extends ColumnOptions {
  prompt?: string | readonly string[];
  prompts?: PromptSource;
  evalPrompts?: PromptSource;
}

/** The files of prompts that are read, for help. */
export const promptFormats =
  '.txt with one a line, or .csv, .tsv, .json or .jsonl with columns; also datasets/org/name/file of the hub';

/** Adds `--prompts`, `--prompt`, `--eval-prompts`, and the names of their columns. */
export function addPromptOptions(command: Command): Command {
  command
    .option(
      '--prompts <file>',
      `Training prompts: ${promptFormats}. Other columns are metadata for the reward. ` +
        '(default: 45 animals; for the embedded model, subjects that it draws well)',
    )
    .option('-p, --prompt <text>', 'A training prompt; may be given several times.', collectValues)
    .option(
      '--eval-prompts <file>',
      'Held-out prompts, in a file like that of --prompts, for an evaluation with and without the adapter after ' +
        'training, and every --eval-freq epochs during it.',
    );
  return addColumnOptions(command).option(
    '--weight-column <name>',
    'Column that says how often a prompt is drawn, relative to the others; none for no such column. ' +
      '(default: weight, if there is one)',
  );
}

/** Adds `--prompt-column` and `--negative-column`. */
export const addColumnOptions = (command: Command): Command =>
  command
    .addOption(promptColumnOption())
    .option(
      '--negative-column <name>',
      'Column of negative prompts, none for no such column. (default: negative_prompt, if there is one)',
    );

export const promptColumnOption = (): Option =>
  new Option('--prompt-column <name>', 'Column of the prompts. (default: prompt, text or caption)');

/** The prompts of a run, and what to tell the user about them. */
export interface RunPrompts {
  readonly training: ReadPrompts;
  /** Undefined without `--eval-prompts`. */
  readonly evaluation?: ReadPrompts;
}

/**
 * Reads the prompts that the options name.
 * @param defaults the training prompts if the options name none
 * @throws UsageError if a file cannot be read or has no prompt, or if no file has the columns that flags name
 */
export async function readPromptOptions(options: PromptOptions, defaults: readonly string[]): Promise<RunPrompts> {
  const training = await trainingPrompts(options, defaults);
  const evaluation =
    options.evalPrompts === undefined ? undefined : await readPrompts(options.evalPrompts, '--eval-prompts', options);
  if (!training.list.promptMetadata && !evaluation?.list.promptMetadata) refuseColumns(options);
  if (!evaluation?.list.weights) return { training, evaluation };
  const warning = '--eval-prompts: the weights have no effect, since each prompt is evaluated.';
  return { training, evaluation: { ...evaluation, warnings: [...evaluation.warnings, warning] } };
}

async function trainingPrompts(options: PromptOptions, defaults: readonly string[]): Promise<ReadPrompts> {
  const { prompt, prompts } = options;
  const texts: readonly unknown[] = [prompt ?? []].flat();
  const wrong = texts.find((text) => typeof text !== 'string');
  if (wrong !== undefined)
    throw new UsageError(`--prompt: got ${excerptJson(wrong)}, expected a text or a list of texts.`);
  const given = { prompts: texts as readonly string[] };
  if (prompts === undefined)
    return { list: texts.length > 0 ? given : { prompts: defaults }, remarks: [], warnings: [] };
  const read = await readPrompts(prompts, '--prompts', options);
  return texts.length > 0 ? { ...read, list: joinPrompts(given, read.list) } : read;
}

/** @throws UsageError if a column is named for prompts that have none */
export function refuseColumns({ promptColumn, negativeColumn, weightColumn }: ColumnOptions): void {
  for (const [kind, column] of Object.entries({ prompt: promptColumn, negative: negativeColumn, weight: weightColumn }))
    if (column !== undefined)
      throw new UsageError(
        `--${kind}-column: got '${column}' for prompts without columns. ` +
          'Give a .csv, .tsv, .json or .jsonl file with it, or leave it out.',
      );
}
