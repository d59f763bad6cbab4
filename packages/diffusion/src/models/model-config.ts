/** What a config field may hold, and what it holds where a file does not name it. */
export interface Field<T> {
  readonly default: T;
  /** The supported values in words, for error messages. */
  readonly supported: string;
  accepts(value: unknown): boolean;
}

/** A class's config fields by name, in the file's own spelling. */
export type Fields = Readonly<Record<string, Field<unknown>>>;

/** The config that a table of fields describes. */
export type ConfigOf<F extends Fields> = { readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never };

/** A config as a file holds it, or as a caller writes it: any field may be left out. */
export type ConfigInput = Readonly<Record<string, unknown>>;

/**
 * The config with every field present. Fields that the class does not have are left out, as diffusers and transformers
 * do.
 * @throws naming every field whose value is not supported, the value and what is supported
 */
export function readConfig<F extends Fields>(owner: string, fields: F, input: ConfigInput): ConfigOf<F> {
  const problems: string[] = [];
  const entries = Object.entries(fields).map(([name, field]) => {
    const value = input[name] === undefined ? field.default : input[name];
    if (!field.accepts(value)) problems.push(`${name} got ${JSON.stringify(value)}, expected ${field.supported}`);
    return [name, value];
  });
  reportConfig(owner, problems);
  return Object.fromEntries(entries) as ConfigOf<F>;
}

/** @throws if there are problems, all of them in one error */
export function reportConfig(owner: string, problems: readonly string[]): void {
  if (problems.length === 0) return;
  throw new Error(`${owner}: config field ${problems.join('; ')}. Only models with these values can be loaded.`);
}

/** One of a few values. */
export function oneOf<const T>(values: readonly T[], initial: NoInfer<T>): Field<T> {
  const supported = values.map((value) => JSON.stringify(value)).join(' or ');
  return { default: initial, supported, accepts: (value) => values.includes(value as T) };
}

/** A whole number above zero. */
export function count(initial: number): Field<number> {
  return { default: initial, supported: 'a positive integer', accepts: isCount };
}

/** A whole number above zero, or null. */
export function optionalCount(): Field<number | null> {
  return {
    default: null,
    supported: 'a positive integer or null',
    accepts: (value) => value === null || isCount(value),
  };
}

/** A list of whole numbers above zero. */
export function counts(initial: readonly number[]): Field<readonly number[]> {
  return { default: initial, supported: 'a list of positive integers', accepts: (value) => isList(value, isCount) };
}

/** A finite number. */
export function real(initial: number): Field<number> {
  return { default: initial, supported: 'a number', accepts: (value) => Number.isFinite(value) };
}

/** One whole number above zero for every level, or a list with one a level. */
export function countPerLevel(initial: number): Field<number | readonly number[]> {
  return {
    default: initial,
    supported: 'a positive integer or a list of them',
    accepts: (value) => isCount(value) || isList(value, isCount),
  };
}

/** One flag for every level, or a list with one a level. */
export function flagPerLevel(initial: boolean): Field<boolean | readonly boolean[]> {
  return {
    default: initial,
    supported: 'a boolean or a list of them',
    accepts: (value) => isFlag(value) || isList(value, isFlag),
  };
}

/** A list of names. */
export function listOf<const T extends string>(
  names: readonly T[],
  initial: readonly NoInfer<T>[],
): Field<readonly T[]> {
  const supported = `a list of ${names.map((name) => JSON.stringify(name)).join(' or ')}`;
  return { default: initial, supported, accepts: (value) => isList(value, (item) => names.includes(item as T)) };
}

/** Any value: for fields that change nothing in what a model computes. */
export function anything<T>(initial: T): Field<T> {
  return { default: initial, supported: 'anything', accepts: () => true };
}

/** The value at each of `levels` levels. */
export function perLevel<T>(value: T | readonly T[], levels: number): readonly T[] {
  return Array.isArray(value) ? (value as readonly T[]) : Array.from({ length: levels }, () => value as T);
}

const isCount = (value: unknown): boolean => Number.isInteger(value) && (value as number) > 0;
const isFlag = (value: unknown): boolean => typeof value === 'boolean';
const isList = (value: unknown, accepts: (item: unknown) => boolean): boolean =>
  Array.isArray(value) && value.length > 0 && value.every(accepts);
