import type { SchedulerConfig } from './scheduler.js';

type Choices<T> = { readonly [K in keyof T]?: readonly T[K][] };

/**
 * Fills in the defaults of a scheduler class. Keeps fields of other classes, as diffusers does: `clip_sample` in a PNDM
 * file reaches a DDIM scheduler created from its config.
 * @param choices the supported values of fields with a fixed set of values
 * @throws if a field has the wrong type or an unsupported value; lists all such fields
 */
export function resolveConfig<T extends object>(
  className: string,
  defaults: T,
  config: SchedulerConfig,
  choices: Choices<T>,
): Readonly<T> & SchedulerConfig {
  const fields = Object.entries(config).filter(([name, value]) => value !== undefined && !name.startsWith('_'));
  const problems = fields.flatMap(([name, value]) => problemOf(defaults, choices, name as keyof T & string, value));
  if (problems.length > 0)
    throw new Error(`${className}: ${problems.join('; ')}. Correct scheduler_config.json or the options.`);
  const explicit = Object.fromEntries(fields);
  return Object.freeze({
    ...defaults,
    ...explicit,
    _class_name: className,
    _use_default_values: Object.keys(defaults).filter((name) => !(name in explicit)),
  });
}

/** Returns the fields set by a file or a caller, without the defaults that a class filled in. */
export function explicitFields(config: SchedulerConfig): SchedulerConfig {
  const filledIn = (config._use_default_values ?? []) as readonly string[];
  return Object.fromEntries(
    Object.entries(config).filter(([name]) => !name.startsWith('_') && !filledIn.includes(name)),
  );
}

/** Returns the explicit fields of `config` that a class with these defaults has. */
export function knownFields<T extends object>(defaults: T, config: SchedulerConfig): Partial<T> {
  return Object.fromEntries(Object.entries(explicitFields(config)).filter(([name]) => name in defaults)) as Partial<T>;
}

function problemOf<T extends object>(
  defaults: T,
  choices: Choices<T>,
  name: keyof T & string,
  value: unknown,
): string[] {
  if (!(name in defaults)) return [];
  const got = `${name} got ${JSON.stringify(value)}, expected`;
  const options = choices[name];
  if (options) return options.includes(value as T[typeof name]) ? [] : [`${got} one of ${options.join(', ')}`];
  if (defaults[name] === null)
    return value === null || Array.isArray(value) ? [] : [`${got} a list of numbers or null`];
  if (typeof value !== typeof defaults[name]) return [`${got} a ${typeof defaults[name]}`];
  return [];
}
