import { excerptJson, excerptList } from '@alignprop/autograd-ext/outside';

/** A field of a model's config: its default and its supported values. */
export interface Field<T> {
  readonly default: T;
  /** The supported values in words, for error messages. */
  readonly supported: string;
  accepts(value: unknown): boolean;
  /** Converts other spellings of a value, before it is checked. */
  read?(value: unknown): unknown;
}

/** The config fields of a model class by name, in the file's spelling. */
export type Fields = Readonly<Record<string, Field<unknown>>>;

/** The type of the config that a table of fields describes. */
export type ConfigOf<F extends Fields> = { readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never };

/** A config before defaults are filled in: the content of a file, or a caller's object. */
export type ConfigInput = Readonly<Record<string, unknown>>;

/**
 * Fills in defaults and validates every field. Drops fields that the class does not have, as diffusers and transformers
 * do.
 * @throws if values are not supported; lists every such field with its value and the supported values
 */
export function readConfig<F extends Fields>(owner: string, fields: F, input: ConfigInput): ConfigOf<F> {
  const problems: string[] = [];
  const entries = Object.entries(fields).map(([name, field]) => {
    const given = input[name] === undefined ? field.default : input[name];
    const value = field.read ? field.read(given) : given;
    if (!field.accepts(value)) problems.push(`${name} got ${excerptJson(value)}, expected ${field.supported}`);
    return [name, value];
  });
  reportConfig(owner, problems);
  return Object.fromEntries(entries) as ConfigOf<F>;
}

/** @throws if there are problems; lists all of them in one error */
export function reportConfig(owner: string, problems: readonly string[]): void {
  if (problems.length === 0) return;
  throw new Error(
    `${owner}: config field ${excerptList(problems, 12, 300, '; ')}. Only models with these values can be loaded.`,
  );
}

/** A field with one of the given values. */
export function oneOf<const T>(values: readonly T[], initial: NoInfer<T>): Field<T> {
  const supported = values.map((value) => JSON.stringify(value)).join(' or ');
  return { default: initial, supported, accepts: (value) => values.includes(value as T) };
}

/** The largest width, number of channels or of positions: four times that of the largest models. */
const MAX_COUNT = 2 ** 16;
/** The most tokens of a vocabulary: four times those of the largest. */
const MAX_TOKENS = 2 ** 20;
/** The most layers of an encoder: twice those of the largest. Each takes memory before any weight is read. */
const MAX_LAYERS = 256;
/** The most layers of a block: five times those of the largest models. They multiply with the number of levels. */
const MAX_BLOCK_LAYERS = 16;
/** The most levels of resolution: each halves the image, which has at most 2^14 pixels across. */
const MAX_LEVELS = 14;

/** A field with a positive integer: a width, or a number of channels or positions. */
export function count(initial: number, max = MAX_COUNT): Field<number> {
  return { default: initial, supported: `an integer from 1 to ${max}`, accepts: (value) => isCount(value, max) };
}

/** A field with the number of an encoder's layers. */
export const layerCount = (initial: number): Field<number> => count(initial, MAX_LAYERS);

/** A field with the number of a block's layers. */
export const blockLayerCount = (initial: number): Field<number> => count(initial, MAX_BLOCK_LAYERS);

/** A field with the size of a vocabulary. */
export const tokenCount = (initial: number): Field<number> => count(initial, MAX_TOKENS);

/** A field with a positive integer or null; null by default, and for 0, as `x or default` reads it in Python. */
export function optionalCount(): Field<number | null> {
  return {
    default: null,
    supported: `an integer from 1 to ${MAX_COUNT}, or null`,
    accepts: (value) => value === null || isCount(value),
    read: (value) => (value === 0 ? null : value),
  };
}

/** The same field for files that may have null in place of `meaning`. */
export function nullMeans<T>(field: Field<T>, meaning: NoInfer<T>): Field<T> {
  return { ...field, read: (value) => (value === null ? meaning : value) };
}

/** The same field for files that may spell its names in another way. */
export function spelled<T>(field: Field<T>, respell: (name: string) => string): Field<T> {
  const read = (value: unknown): unknown =>
    typeof value === 'string' ? respell(value) : Array.isArray(value) ? value.map(read) : value;
  return { ...field, read };
}

/** A field with a height and a width, or one number for both, or null. */
export function optionalSize(): Field<number | readonly [number, number] | null> {
  return {
    default: null,
    supported: `an integer from 1 to ${MAX_COUNT}, a list of height and width, or null`,
    accepts: (value) =>
      value === null || isCount(value) || (isList(value, isCount) && (value as readonly number[]).length === 2),
  };
}

/** A field with the side of a square: a positive integer, or a list of two equal ones. */
export function side(initial: number): Field<number> {
  const read = (value: unknown): unknown =>
    Array.isArray(value) && value.length === 2 && value[0] === value[1] ? (value[0] as unknown) : value;
  const supported = `an integer from 1 to ${MAX_COUNT}, or a list of two equal ones`;
  return { default: initial, supported, accepts: (value) => isCount(value), read };
}

/** A field with a list of positive integers, one for each level of resolution or side of an image. */
export function counts(initial: readonly number[]): Field<readonly number[]> {
  const supported = `a list of up to ${MAX_LEVELS} integers from 1 to ${MAX_COUNT}`;
  return { default: initial, supported, accepts: (value) => isList(value, isCount) };
}

/** A field with a finite number. */
export function real(initial: number): Field<number> {
  return { default: initial, supported: 'a finite number', accepts: (value) => Number.isFinite(value) };
}

/** A field with a positive integer for all levels, or a list with one per level. */
export function countPerLevel(initial: number, max = MAX_COUNT): Field<number | readonly number[]> {
  const accepts = (value: unknown) => isCount(value, max);
  return {
    default: initial,
    supported: `an integer from 1 to ${max}, or a list of them`,
    accepts: (value) => accepts(value) || isList(value, accepts),
  };
}

/** A field with the number of a block's layers for all levels, or a list with one per level. */
export const blockLayersPerLevel = (initial: number): Field<number | readonly number[]> =>
  countPerLevel(initial, MAX_BLOCK_LAYERS);

/** A field with a boolean for all levels, or a list with one per level. */
export function flagPerLevel(initial: boolean): Field<boolean | readonly boolean[]> {
  return {
    default: initial,
    supported: 'a boolean or a list of them',
    accepts: (value) => isFlag(value) || isList(value, isFlag),
  };
}

/** A field with a list of the given names. */
export function listOf<const T extends string>(
  names: readonly T[],
  initial: readonly NoInfer<T>[],
): Field<readonly T[]> {
  const supported = `a list of ${names.map((name) => JSON.stringify(name)).join(' or ')}`;
  return { default: initial, supported, accepts: (value) => isList(value, (item) => names.includes(item as T)) };
}

/** A field with any value: it does not affect what the model computes. */
export function anything<T>(initial: T): Field<T> {
  return { default: initial, supported: 'anything', accepts: () => true };
}

/** Expands a value for all levels to a list with one value per level. */
export function perLevel<T>(value: T | readonly T[], levels: number): readonly T[] {
  return Array.isArray(value) ? (value as readonly T[]) : Array.from({ length: levels }, () => value as T);
}

const isCount = (value: unknown, max = MAX_COUNT): boolean =>
  Number.isInteger(value) && (value as number) > 0 && (value as number) <= max;
const isFlag = (value: unknown): boolean => typeof value === 'boolean';
const isList = (value: unknown, accepts: (item: unknown) => boolean): boolean =>
  Array.isArray(value) && value.length > 0 && value.length <= MAX_LEVELS && value.every((item) => accepts(item));
