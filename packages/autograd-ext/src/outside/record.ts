/**
 * Returns an object whose only keys are those of the entries. It has no prototype, so that `constructor`, `__proto__`
 * and `toString` are keys like any other. For names that come from files, flags and services.
 */
export function record<T>(entries: Iterable<readonly [string, T]> = []): Record<string, T> {
  const values = Object.create(null) as Record<string, T>;
  for (const [name, value] of entries) values[name] = value;
  return values;
}

/** Returns a table in which names from outside are looked up: a record with these entries; see `record`. */
export const table = <T>(values: Readonly<Record<string, T>>): Readonly<Record<string, T>> =>
  Object.freeze(record(Object.entries(values)));

/** The most levels of lists and objects in data from outside. Configurations have fewer than ten. */
export const MAX_DEPTH = 200;

/**
 * Removes the prototypes of all objects in plain data of a parser, in place: see `record`.
 * @throws SyntaxError if lists and objects are nested in more than 200 levels
 */
export function withoutPrototypes(value: unknown, depth = 0): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (depth >= MAX_DEPTH) throw tooDeep();
  if (!Array.isArray(value)) Object.setPrototypeOf(value, null);
  for (const child of Array.isArray(value) ? (value as unknown[]) : Object.values(value))
    withoutPrototypes(child, depth + 1);
  return value;
}

/** The error for data with more than 200 levels. */
export const tooDeep = (): SyntaxError =>
  new SyntaxError(`lists and objects are nested in more than ${MAX_DEPTH} levels, expected fewer`);
