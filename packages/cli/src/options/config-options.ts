import { InvalidArgumentError, Option, type Command } from 'commander';
import { alignPropJsonSchema } from '@alignprop/trainer';

/** What a field's JSON Schema can say; zod writes no more than this for the configuration. */
interface FieldSchema {
  readonly type?: 'string' | 'number' | 'integer' | 'boolean' | 'array' | 'object' | 'null';
  readonly enum?: readonly string[];
  readonly anyOf?: readonly FieldSchema[];
  readonly prefixItems?: readonly FieldSchema[];
  readonly default?: unknown;
  readonly description?: string;
}

/** A field of the configuration as flags. */
export interface ConfigOption {
  /** As in TRL: `num_epochs`. */
  readonly field: string;
  /** Where commander keeps its value: `numEpochs`. */
  readonly key: string;
  /** The heading it is listed under. */
  readonly group: string;
  /** One, or two where it can be negated. */
  readonly options: readonly Option[];
}

const groups: readonly (readonly [RegExp, string])[] = [
  [/^(sample_|negative_|height|width)/, 'Sampling:'],
  [/^train_/, 'Optimization:'],
  [/^estimator/, 'Estimator:'],
  [/^(truncated_|backprop_)/, 'Truncation:'],
  [/^(ema_|kl_|eval_|early_|on_)/, 'Guards:'],
  [/(^|_)lora(_|$)/, 'Adapter:'],
];

/**
 * Every field of `AlignPropConfig` as flags, made from its schema. Ranges are left to the schema, which sees the whole
 * configuration.
 */
export function configOptions(): ConfigOption[] {
  const { properties } = alignPropJsonSchema() as { properties: Readonly<Record<string, FieldSchema>> };
  return Object.entries(properties).map(([field, schema]) => {
    const options = makeOptions(`--${field.replaceAll('_', '-')}`, schema);
    return {
      field,
      key: options[0]!.attributeName(),
      group: groups.find(([pattern]) => pattern.test(field))?.[1] ?? 'Run:',
      options,
    };
  });
}

/** The fields that flags or a configuration file gave, as the schema takes them. */
export function givenFields(command: Command, fields: readonly ConfigOption[]): Record<string, unknown> {
  const given = fields.filter(({ key }) => ['cli', 'config'].includes(command.getOptionValueSource(key) ?? ''));
  // Commander keeps '' where a parser returned null; no text field is null.
  return Object.fromEntries(
    given.map(({ field, key, options }) => {
      const value = command.getOptionValue(key) as unknown;
      return [field, value === '' && options[0]!.parseArg ? null : value];
    }),
  );
}

function makeOptions(flag: string, schema: FieldSchema): Option[] {
  const types = typesOf(schema);
  const option = (value: string): Option =>
    new Option(`${flag} ${value}`, schema.description).default(schema.default, shown(schema.default));
  const choices = types.find((type) => type.enum)?.enum;
  const has = (type: FieldSchema['type']): boolean => types.some((candidate) => candidate.type === type);
  if (has('boolean')) {
    const positive = option('[true|false]').argParser(parseBoolean);
    return [positive, new Option(flag.replace('--', '--no-')).hideHelp()];
  }
  if (choices)
    return [
      option('<name>')
        .choices(has('null') ? [...choices, 'none'] : choices)
        .argParser(parseChoice(choices, has('null'))),
    ];
  if (has('array') && has('string')) return [option('<text...>').argParser(collectTexts)];
  if (types.some((type) => type.prefixItems)) return [option('<min max...>').argParser(collectNumbers)];
  if (has('array')) return [option('<names...>').argParser(collectNames)];
  if (has('object')) return [option('<json>').argParser(parseJson)];
  if (has('string')) return [option('<text>')];
  return [option('<n>').argParser(has('null') ? orNull(parseNumber) : parseNumber)];
}

/** The alternatives of a field: a string or null is two. */
const typesOf = (schema: FieldSchema): readonly FieldSchema[] => schema.anyOf?.flatMap(typesOf) ?? [schema];

function shown(value: unknown): string | undefined {
  if (value === null || value === undefined) return 'none';
  if (Array.isArray(value)) return value.join(' ');
  return typeof value === 'string' ? value || 'none' : JSON.stringify(value);
}

function parseBoolean(text: string): boolean {
  const [yes, no] = [/^(true|yes|on|1)$/i, /^(false|no|off|0)$/i].map((pattern) => pattern.test(text));
  if (yes || no) return yes!;
  throw new InvalidArgumentError('Expected true or false.');
}

/** A finite number, from the command line. */
export function parseNumber(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value)) return value;
  throw new InvalidArgumentError('Expected a number.');
}

const isNull = (text: string): boolean => /^(none|null)$/i.test(text);

const orNull =
  <T>(parse: (text: string) => T) =>
  (text: string): T | null =>
    isNull(text) ? null : parse(text);

const parseChoice =
  (choices: readonly string[], nullable: boolean) =>
  (text: string): string | null => {
    if (choices.includes(text)) return text;
    if (nullable && isNull(text)) return null;
    throw new InvalidArgumentError(`Expected ${choices.join(', ')}${nullable ? ' or none' : ''}.`);
  };

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new InvalidArgumentError(`Expected JSON: ${(cause as Error).message}.`);
  }
}

// Commander hands a value after the first what was collected so far; before that, the default.
const collected = new WeakSet<object>();

function collect<T>(found: readonly T[], previous: unknown): T[] {
  const all = [...(collected.has(previous as object) ? (previous as T[]) : []), ...found];
  collected.add(all);
  return all;
}

/** `0 50`, `0,50`, `(0,50)` or `[0, 50]`. */
const collectNumbers = (text: string, previous: unknown): number[] => collect(pieces(text).map(parseNumber), previous);
const collectNames = (text: string, previous: unknown): string[] => collect(pieces(text), previous);
const collectTexts = (text: string, previous: unknown): string[] => collect([text], previous);

const pieces = (text: string): string[] =>
  text
    .replace(/^[([]|[)\]]$/g, '')
    .split(/[,\s]+/)
    .map((piece) => piece.replace(/^(['"])(.*)\1$/, '$2'))
    .filter((piece) => piece !== '');
