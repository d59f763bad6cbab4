import { InvalidArgumentError, Option, type Command } from 'commander';
import { parseJson } from '@alignprop/autograd-ext/outside';
import { alignPropJsonSchema, ddpoJsonSchema } from '@alignprop/trainer';
import { algorithms, type Algorithm } from './algorithm.js';
import { parseInterval, parseNumber } from './option-parsers.js';

/** The part of JSON Schema that zod emits for the fields of the configuration. */
interface FieldSchema {
  readonly type?: 'string' | 'number' | 'integer' | 'boolean' | 'array' | 'object' | 'null';
  readonly enum?: readonly string[];
  readonly anyOf?: readonly FieldSchema[];
  readonly prefixItems?: readonly FieldSchema[];
  readonly default?: unknown;
  readonly description?: string;
}

/** A field of `AlignPropConfig`, of `DDPOConfig` or of both, and its flags. */
export interface ConfigOption {
  /** The name in TRL: `num_epochs`. */
  readonly field: string;
  /** The key of its value in commander: `numEpochs`. */
  readonly key: string;
  /** The heading in the help. */
  readonly group: string;
  /** The algorithms that have the field. */
  readonly algorithms: readonly Algorithm[];
  /** One option, and for booleans a second, `--no-…`. */
  readonly options: readonly Option[];
}

const groups: readonly (readonly [RegExp, string])[] = [
  [/^(scheduler|sample_|negative_|clip_|long_|height|width)/, 'Sampling:'],
  [/^push_/, 'Hub:'],
  [/^train_/, 'Optimization:'],
  [/^estimator/, 'Estimator:'],
  [/^(truncated_|backprop_)/, 'Truncation:'],
  [/^(ema_|kl_|data_|reward_perturbation|eval_|early_|on_)/, 'Guards:'],
  [/(^|_)lora(_|$)/, 'Adapter:'],
];

const schemas = { alignprop: alignPropJsonSchema, ddpo: ddpoJsonSchema } as const;

type Fields = Readonly<Record<string, FieldSchema>>;

/**
 * Derives the flags of every field of both configurations from their JSON Schemas. The flags check only the types of
 * their values; `parseAlignPropConfig` and `parseDDPOConfig` check ranges, which depend on other fields.
 */
export function configOptions(): ConfigOption[] {
  const all = algorithms.map((name) => (schemas[name]() as { properties: Fields }).properties);
  const names = new Set(all.flatMap((fields) => Object.keys(fields)));
  return [...names].map((field) => {
    const own = algorithms.filter((_, i) => Object.hasOwn(all[i]!, field));
    const [schema, other] = all.flatMap((fields) => fields[field] ?? []);
    const options = makeOptions(`--${field.replaceAll('_', '-')}`, describedFor(own, schema!, other));
    return {
      field,
      key: options[0]!.attributeName(),
      group: own[0] === 'ddpo' ? 'DDPO:' : (groups.find(([pattern]) => pattern.test(field))?.[1] ?? 'Run:'),
      algorithms: own,
      options,
    };
  });
}

/** Adds to a description the default that only DDPO has. */
function describedFor(own: readonly Algorithm[], schema: FieldSchema, other: FieldSchema | undefined): FieldSchema {
  if (own.length === 1 || other === undefined || other.default === schema.default) return schema;
  const [one, two] = [schema, other].map((each) => defaultText(each.default));
  return one === two ? schema : { ...schema, description: `${schema.description} With ddpo by default ${two}.` };
}

/** Returns the fields that flags, a configuration file or a manifest have set, as input of `parseAlignPropConfig`. */
export function givenFields(command: Command, fields: readonly ConfigOption[]): Record<string, unknown> {
  const given = fields.filter(({ key }) => !['default', undefined].includes(command.getOptionValueSource(key)));
  // Commander stores '' when a parser returns null. Fields of plain text have no parser and are never null.
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
    new Option(`${flag} ${value}`, schema.description).default(schema.default, defaultText(schema.default));
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
  if (types.some((type) => type.prefixItems) && has('null'))
    return [option('<first,end>').argParser(orNull(parseInterval))];
  if (types.some((type) => type.prefixItems)) return [option('<min max...>').argParser(collectNumbers)];
  if (has('array')) return [option('<names...>').argParser(collectNames)];
  if (has('object')) return [option('<json>').argParser(parseJsonValue)];
  if (has('string')) return [option('<text>')];
  return [option('<n>').argParser(has('null') ? orNull(parseNumber) : parseNumber)];
}

/** The alternatives of a union, flattened: two for a string or null. */
const typesOf = (schema: FieldSchema): readonly FieldSchema[] => schema.anyOf?.flatMap(typesOf) ?? [schema];

function defaultText(value: unknown): string | undefined {
  if (value === null || value === undefined) return 'none';
  if (Array.isArray(value)) return value.join(' ');
  return typeof value === 'string' ? value || 'none' : JSON.stringify(value);
}

function parseBoolean(text: string): boolean {
  const [yes, no] = [/^(true|yes|on|1)$/i, /^(false|no|off|0)$/i].map((pattern) => pattern.test(text));
  if (yes || no) return yes!;
  throw new InvalidArgumentError('Expected true or false.');
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

function parseJsonValue(text: string): unknown {
  try {
    return parseJson(text);
  } catch (cause) {
    throw new InvalidArgumentError(`Expected JSON: ${(cause as Error).message}.`);
  }
}

// Commander passes the default as `previous` with the first value, and the result so far with each later one.
const collected = new WeakSet<object>();

function collect<T>(values: readonly T[], previous: unknown): T[] {
  const all = [...(collected.has(previous as object) ? (previous as T[]) : []), ...values];
  collected.add(all);
  return all;
}

/** Accepts `0 50`, `0,50`, `(0,50)` and `[0, 50]`. */
const collectNumbers = (text: string, previous: unknown): number[] => collect(pieces(text).map(parseNumber), previous);
const collectNames = (text: string, previous: unknown): string[] => collect(pieces(text), previous);
const collectTexts = (text: string, previous: unknown): string[] => collect([text], previous);

const pieces = (text: string): string[] =>
  text
    .replace(/^[([]|[)\]]$/g, '')
    .split(/[,\s]+/)
    .map((piece) => piece.replace(/^(['"])(.*)\1$/, '$2'))
    .filter((piece) => piece !== '');
