import { Option, type Command } from 'commander';
import { UsageError } from '../terminal/errors.js';
import type { ConfigOption } from './config-options.js';

/** The algorithms that train: AlignProp by the gradient of the reward, DDPO by rewards alone. */
export const algorithms = ['alignprop', 'ddpo'] as const;

export type Algorithm = (typeof algorithms)[number];

/** Adds `--algorithm`. */
export const addAlgorithm = (command: Command): Command =>
  command.addOption(
    new Option(
      '--algorithm <name>',
      'alignprop follows the gradient of the reward. ddpo needs none, for rewards that count, round, or ask a ' +
        'service, and takes many more images.',
    )
      .choices(algorithms)
      .default('alignprop'),
  );

/**
 * Checks that all options which were set are options of the algorithm.
 * @throws UsageError that names those of the other one
 */
export function checkAlgorithm(command: Command, fields: readonly ConfigOption[], algorithm: Algorithm): void {
  const strangers = fields.filter(({ key, algorithms: own }) => !own.includes(algorithm) && isSet(command, key));
  if (strangers.length === 0) return;
  const names = strangers.map(({ options }) => options[0]!.long!);
  const [are, it] = names.length === 1 ? ['is an option', 'it'] : ['are options', 'them'];
  const other = strangers[0]!.algorithms[0]!;
  throw new UsageError(
    `${names.join(', ')}: ${are} of ${other}, got --algorithm ${algorithm}. ` +
      `Leave ${it} out, or give --algorithm ${other}.`,
  );
}

/** Whether a flag, a configuration file, or what the run starts from has set an option. */
const isSet = (command: Command, key: string): boolean =>
  !['default', undefined].includes(command.getOptionValueSource(key));
