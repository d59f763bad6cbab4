import { excerpt, excerptJson } from '@alignprop/autograd-ext/outside';
import type { ColumnOptions, PromptList } from '../options/prompt-columns.js';
import { joinPrompts, readPrompts } from '../options/prompt-list.js';
import { refuseColumns } from '../options/prompt-options.js';
import { UsageError } from '../terminal/errors.js';
import { ownCommand } from '../terminal/program-command.js';
import type { Output } from '../terminal/output.js';

/** Prompts that are drawn at once, with noise of one seed. */
export interface PromptBatch {
  readonly prompts: readonly string[];
  /** The model's default where undefined: '', or zeros for SDXL. */
  readonly negativePrompt?: string;
  /** Drawn at random where undefined. */
  readonly seed?: number;
}

/** The options that say what is drawn. */
export interface BatchOptions extends ColumnOptions {
  /** The path of a file. */
  prompts?: string;
  negativePrompt?: string;
  seed?: number;
}

/**
 * Returns the prompts of the command line as one batch; with those of a file, each prompt as a batch of its own, so
 * that memory does not grow with their number, and each image can be drawn again alone.
 * @throws UsageError if there is no prompt, the file cannot be read, or a seed in it is no integer from 0
 */
export async function promptBatches(
  texts: readonly string[],
  options: BatchOptions,
  output: Output,
): Promise<readonly PromptBatch[]> {
  const { prompts: path, negativePrompt, seed } = options;
  if (path !== undefined) {
    const { list, remarks, warnings } = await readPrompts(path, '--prompts', options);
    if (!list.promptMetadata) refuseColumns(options);
    for (const remark of remarks) output.info(remark);
    for (const warning of warnings) output.warn(warning);
    if (list.weights) output.warn('--prompts: the weights have no effect, since each prompt is drawn.');
    return singleBatches(texts.length > 0 ? joinPrompts({ prompts: texts }, list) : list, options);
  }
  if (texts.length > 0) return [{ prompts: texts, negativePrompt, seed }];
  throw new UsageError(
    `generate: got no prompt, expected at least one. Give it in quotes, ${ownCommand('generate')} "crab", or a file ` +
      'of prompts with --prompts.',
  );
}

function singleBatches(list: PromptList, { negativePrompt, seed }: BatchOptions): readonly PromptBatch[] {
  const first = seed ?? Math.floor(Math.random() * 2 ** 31);
  return list.prompts.map((prompt, i) => ({
    prompts: [prompt],
    negativePrompt: list.negativePrompts?.[i] ?? negativePrompt,
    seed: (seed === undefined ? columnSeed(list, i) : undefined) ?? first + i,
  }));
}

/** The seed of a prompt in the column `seed`; undefined without one, or where it is empty. */
function columnSeed({ prompts, promptMetadata }: PromptList, i: number): number | undefined {
  const value = promptMetadata?.[i]?.seed;
  if (value === undefined || value === null || value === '') return undefined;
  const seed = Number(value);
  if (Number.isSafeInteger(seed) && seed >= 0) return seed;
  throw new UsageError(
    `--prompts: column 'seed' got ${excerptJson(value)} for '${excerpt(prompts[i]!)}', expected an integer from 0. ` +
      'Give --seed to use another.',
  );
}
