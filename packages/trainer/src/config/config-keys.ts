import type { z } from 'zod';
import { suggestName } from '@alignprop/autograd-ext';
import { record } from '@alignprop/autograd-ext/outside';

/**
 * Parses options in snake case or camel case with a schema.
 * @param owner the name of the configuration, with which the error begins
 * @param known the keys of the schema, in snake case
 * @param defaults returns defaults, in snake case, that depend on the given options; those of the schema follow
 * @throws one error that lists every problem
 */
export function parseOptions<S extends z.ZodType>(
  owner: string,
  schema: S,
  known: readonly string[],
  input: Readonly<Record<string, unknown>>,
  defaults: (given: Readonly<Record<string, unknown>>) => Readonly<Record<string, unknown>> = () => ({}),
): z.output<S> {
  const { values, problems } = knownKeys(input, known);
  const result = schema.safeParse({ ...defaults(values), ...values });
  const issues = result.success
    ? []
    : result.error.issues.map(({ path, message }) => `${path.join('.') || 'config'}: ${message}`);
  const all = [...problems, ...issues];
  if (all.length > 0) throw new Error(`${owner}: ${all.join('\n  ')}`);
  return result.data!;
}

/**
 * Returns the input with its keys in snake case, and the problems with its keys: those that are unknown, with the
 * nearest known key, and those given in both spellings.
 */
function knownKeys(
  input: Readonly<Record<string, unknown>>,
  known: readonly string[],
): { values: Record<string, unknown>; problems: readonly string[] } {
  const values = record<unknown>();
  const problems: string[] = [];
  const spellings = new Map(
    known.flatMap((key) => [
      [key, key],
      [camelCase(key), key],
    ]),
  );
  for (const [written, value] of Object.entries(input)) {
    const key = spellings.get(written);
    if (key === undefined) problems.push(`${written}: unknown option.${suggestName(written, spellings.keys())}`);
    else if (Object.hasOwn(values, key)) problems.push(`${key}: given twice, as '${key}' and in camel case. Keep one.`);
    else values[key] = value;
  }
  return { values, problems };
}

const camelCase = (key: string): string => key.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
