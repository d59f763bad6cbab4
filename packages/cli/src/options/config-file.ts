import { InvalidArgumentError, type Command, type Option } from 'commander';
import { excerpt, excerptJson } from '@alignprop/autograd-ext/outside';
import { UsageError } from '../terminal/errors.js';
import { parseConfigText, type ConfigEntry } from './config-text.js';
import { canonicalEntry } from './flags.js';
import { otherOptionNames } from './other-names.js';
import { meantName } from './suggestions.js';
import { readTextFile } from './text-file.js';

/** The outcome of applying a configuration file. */
export interface AppliedConfig {
  /** The places of the options that it has set, by their names in snake case: "line 3 of 'config.yaml'". */
  readonly places: ReadonlyMap<string, string>;
  /** Names the entries that are left out. */
  readonly warnings: readonly string[];
}

/** Options that hold for one start: in a template of other runs they would delete or continue the run it came from. */
const oneOff: readonly string[] = ['resumeFrom', 'overwriteOutputDir'];

/** Options that may be a text or a list of texts, and those whose readers check their values. */
const listed: readonly string[] = ['reward', 'evalReward', 'lora', 'embedding', 'force'];
const structured: readonly string[] = ['prompt', 'prompts', 'evalPrompts', 'rewardOption'];

/**
 * Reads the JSON or YAML file of `--config` and sets the options that no flag has set. Names may be in snake or camel
 * case. A text is read as the flag reads it, so that `yes`, `none` and `8GB` mean the same.
 * @param fields the keys of the fields of `AlignPropConfig`, whose values its schema checks later
 * @throws UsageError that lists unknown names, names given twice and values of a wrong type, each with its line; or if
 *   the file cannot be read or parsed
 */
export async function applyConfigFile(command: Command, fields: readonly string[]): Promise<AppliedConfig> {
  const path = command.getOptionValue('config') as string | undefined;
  if (path === undefined) return { places: new Map(), warnings: [] };
  const entries = (await readEntries(path)).map((entry) => renamed(entry, command.name()));
  const placeOf = ({ line }: ConfigEntry): string => `line ${line} of '${path}'`;
  const problems = checkEntries(entries, command, fields).map(({ entry, problem }) => `${placeOf(entry)}: ${problem}`);
  if (problems.length > 0) throw new UsageError(`--config: ${problems.join('\n  ')}`);
  const applied = entries.filter((entry) => isApplied(entry, command, fields));
  for (const { name, value } of applied) {
    const key = camelCase(name);
    command.setOptionValueWithSource(key, optionValue(findOption(command, key)!, value), 'config');
  }
  return {
    places: new Map(applied.map((entry) => [snakeCase(entry.name), placeOf(entry)])),
    warnings: entries
      .filter(({ name, value }) => oneOff.includes(camelCase(name)) && Boolean(value))
      .map(
        (entry) =>
          `--config: ${placeOf(entry)}: ${entry.name} is ignored, since it holds for one start. ` +
          `Give --${kebabCase(entry.name)} on the command line.`,
      ),
  };
}

async function readEntries(path: string): Promise<readonly ConfigEntry[]> {
  const text = await readTextFile(path, '--config');
  try {
    return parseConfigText(path, text);
  } catch (cause) {
    throw new UsageError(`--config: '${path}' ${excerpt((cause as Error).message, 600)}`, { cause });
  }
}

/** The entry with the command's own name of an option that other commands name differently. */
function renamed(entry: ConfigEntry, command: string): ConfigEntry {
  const [name, value] = canonicalEntry(kebabCase(entry.name), entry.value, command) ?? [];
  return name === undefined ? entry : { ...entry, name: snakeCase(name), value };
}

/** Whether an entry sets its option: it is no one-off switch, no flag has set it, and null is the default of others. */
function isApplied({ name, value }: ConfigEntry, command: Command, fields: readonly string[]): boolean {
  const key = camelCase(name);
  if (oneOff.includes(key) || command.getOptionValueSource(key) === 'cli') return false;
  return value !== null || fields.includes(key);
}

interface EntryProblem {
  readonly entry: ConfigEntry;
  readonly problem: string;
}

function checkEntries(
  entries: readonly ConfigEntry[],
  command: Command,
  fields: readonly string[],
): readonly EntryProblem[] {
  const seen = new Map<string, number>();
  return entries.flatMap((entry) => {
    const key = camelCase(entry.name);
    const earlier = seen.get(key);
    seen.set(key, entry.line);
    const problem =
      earlier === undefined
        ? entryProblem(entry, command, fields.includes(key))
        : `${entry.name}: given in line ${earlier}, too. Keep one.`;
    return problem === undefined ? [] : [{ entry, problem }];
  });
}

function entryProblem({ name, value }: ConfigEntry, command: Command, isField: boolean): string | undefined {
  const option = findOption(command, camelCase(name));
  if (!option) {
    const names = command.options.filter(({ hidden }) => !hidden).map((candidate) => candidate.name());
    const meant = meantName(snakeCase(name), names, otherOptionNames);
    return `${name}: unknown option.${meant ? ` Did you mean '${snakeCase(meant)}'?` : ''}`;
  }
  if (value === null) return undefined;
  try {
    const parsed = optionValue(option, value);
    return isField ? undefined : wrongType(option, parsed, name);
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    return `${name}: got ${excerptJson(value)}. ${error.message}`;
  }
}

const typeNames = { boolean: 'true or false', number: 'a number', string: 'a text' };

/** Returns what is wrong with the value of an option that is no field, if anything. */
function wrongType(option: Option, value: unknown, name: string): string | undefined {
  const key = option.attributeName();
  if (structured.includes(key)) return undefined;
  const got = `${name}: got ${excerptJson(value)}, expected`;
  if (listed.includes(key)) {
    const areTexts = (value as readonly unknown[]).every((item) => typeof item === 'string');
    return areTexts ? undefined : `${got} a text or a list of texts.`;
  }
  const expected = option.isBoolean() ? 'boolean' : option.parseArg && !option.argChoices ? 'number' : 'string';
  return typeof value === expected ? undefined : `${got} ${typeNames[expected]}.`;
}

/** Reads a text as the flag does, a number of an option that is no text, and a single text of a list. */
function optionValue(option: Option, value: unknown): unknown {
  const isWritten = typeof value === 'string' || typeof value === 'number';
  const key = option.attributeName();
  if (listed.includes(key)) return [value].flat();
  const isList = option.variadic || structured.includes(key);
  return isWritten && option.parseArg && !isList ? option.parseArg(String(value), undefined as never) : value;
}

const findOption = (command: Command, key: string): Option | undefined =>
  command.options.find((option) => option.attributeName() === key && key !== 'config');

const kebabCase = (name: string): string => snakeCase(name).replaceAll('_', '-');
const camelCase = (name: string): string => name.replace(/[_-](.)/g, (_, letter: string) => letter.toUpperCase());
const snakeCase = (name: string): string =>
  name.replaceAll('-', '_').replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
