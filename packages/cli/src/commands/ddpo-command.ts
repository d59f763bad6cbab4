import type { Command, Option } from 'commander';
import { NoGradientError } from '@alignprop/trainer';
import type { ConfigOption } from '../options/config-options.js';
import { ownCommand } from '../terminal/program-command.js';
import { option as optionWords } from './next-commands.js';

/**
 * Says how to train the reward of a command by DDPO, which needs no gradient: with the same flags, as far as DDPO has
 * them. Computed before the run starts, and printed if its reward has no gradient.
 */
export function ddpoAdvice(command: Command, fields: readonly ConfigOption[]): string {
  if (command.getOptionValueSource('resumeFrom') === 'cli')
    return `Train it by DDPO, in a new --output-dir: ${ownCommand('train', '--algorithm', 'ddpo')}`;
  const aligned = fields.filter(({ algorithms }) => !algorithms.includes('ddpo'));
  const unwanted = new Set(aligned.map(({ key }) => key));
  unwanted.add('token'); // a secret
  if (command.getOptionValue('sampleEta') === 0) unwanted.add('sampleEta'); // DDPO needs noise
  const inFile = aligned.filter(({ key }) => command.getOptionValueSource(key) === 'config');
  const names = inFile.map(({ field }) => field).join(', ');
  const without = names && ` (remove ${names} from ${String(command.getOptionValue('config'))})`;
  const given = command.options.filter((option) => isGiven(command, option) && !unwanted.has(option.attributeName()));
  const words = given.flatMap((option) => wordsOf(option, command.getOptionValue(option.attributeName())));
  const line = ownCommand('train', '--algorithm', 'ddpo', ...words, ...batches(command));
  return `Train it by DDPO, which needs no gradient${without}:\n  ${line}`;
}

const isGiven = (command: Command, option: Option): boolean =>
  !option.negate && option.long !== '--algorithm' && command.getOptionValueSource(option.attributeName()) === 'cli';

/** The words of a command line that give an option a value. */
function wordsOf(option: Option, value: unknown): readonly string[] {
  const flag = option.long!;
  const valued = (text: string) => optionWords(flag.slice(2), text);
  if (Array.isArray(value)) {
    const texts = value.map(String);
    return option.variadic ? [flag, ...texts] : texts.flatMap(valued);
  }
  if (value === true) return [flag];
  if (value === false) return [flag.replace('--', '--no-')];
  if (value === null || value === '') return [flag, 'none'];
  return valued(typeof value === 'object' ? JSON.stringify(value) : String(value as string | number));
}

/** The sizes that fit those of training: DDPO first draws images, and then trains on them. */
function batches(command: Command): readonly string[] {
  const { trainBatchSize: size = 1, trainGradientAccumulationSteps: rounds = 1 } =
    command.opts<Record<string, number>>();
  return [
    ...(size > 1 ? ['--sample-batch-size', `${size}`] : []),
    ...(rounds > 2 ? ['--sample-num-batches-per-epoch', `${rounds}`] : []),
  ];
}

/** Returns a handler that adds advice to the error of a reward without a gradient. */
export const suggestDdpo =
  (advice: string) =>
  (error: unknown): never => {
    if (!(error instanceof NoGradientError)) throw error;
    throw new Error(`${error.message} ${advice}`, { cause: error });
  };
