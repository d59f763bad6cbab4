import type { Command } from 'commander';
import { table } from '@alignprop/autograd-ext/outside';
import { parseAlignPropConfig, parseDDPOConfig, type AlignPropConfig, type DDPOConfig } from '@alignprop/trainer';
import { UsageError } from '../terminal/errors.js';
import { checkAlgorithm, type Algorithm } from './algorithm.js';
import { givenFields, type ConfigOption } from './config-options.js';
import { adapterSource, guardSource, manifestSource, modelSource } from './option-sources.js';

/** The complete configuration of a run of either algorithm. */
export type RunConfig = AlignPropConfig | DDPOConfig;

/** Whether a configuration is one of AlignProp. */
export const isAlignProp = (config: RunConfig): config is AlignPropConfig => 'estimator_steps' in config;

const parsers = { alignprop: parseAlignPropConfig, ddpo: parseDDPOConfig } as const;

/**
 * Completes the configuration of a run from the options of its command.
 * @param places where the configuration file sets options; errors name them
 * @throws UsageError if an option is out of range, does not fit the others, or belongs to the other algorithm
 */
export function runConfig(
  command: Command,
  fields: readonly ConfigOption[],
  places: ReadonlyMap<string, string>,
  defaultFolder: string,
): RunConfig {
  const algorithm = command.getOptionValue('algorithm') as Algorithm;
  checkAlgorithm(command, fields, algorithm);
  try {
    const config = parsers[algorithm](givenFields(command, fields));
    const { output_dir, project_kwargs, logdir, run_name } = config;
    return {
      ...config,
      output_dir: output_dir || project_kwargs.project_dir || (run_name && `${logdir}/${run_name}`) || defaultFolder,
    };
  } catch (cause) {
    const message = withFlags((cause as Error).message, command, fields);
    throw new UsageError(withPlaces(message, places), { cause });
  }
}

/** Adds to each line of an error, which begins with the name of a field, the place of that field. */
const withPlaces = (message: string, places: ReadonlyMap<string, string>): string =>
  message.replace(/^(?:(?:AlignProp|DDPO)Config: | *)(\w+).*/gm, (line, field: string) =>
    places.has(field) ? `${line} (${places.get(field)})` : line,
  );

/** Names those fields as flags that begin a line of an error and were set by flags. */
const withFlags = (message: string, command: Command, fields: readonly ConfigOption[]): string =>
  message.replace(/^(?:(?:AlignProp|DDPO)Config: )?( *)(\w+)(?=:)/gm, (line, start: string, name: string) => {
    const field = fields.find((candidate) => candidate.field === name);
    const isFlag = field && command.getOptionValueSource(field.key) === 'cli';
    return isFlag ? `${start}${field.options[0]!.long}` : line;
  });

/** Returns for each field that was set what set it: a flag, the file, the run, the adapter, the model, the guard. */
export function sourcesOf(command: Command, fields: readonly ConfigOption[]): Record<string, string> {
  const names = table<string>({
    cli: 'flag',
    config: 'file',
    [manifestSource]: 'run',
    [adapterSource]: 'adapter',
    [modelSource]: 'model',
    [guardSource]: 'guard',
  });
  return Object.fromEntries(
    fields.flatMap(({ field, key }) => {
      const source = names[command.getOptionValueSource(key) ?? ''];
      return source ? [[field, source]] : [];
    }),
  );
}
