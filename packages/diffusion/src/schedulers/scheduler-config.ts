import { excerptJson } from '@alignprop/autograd-ext/outside';
import type { SchedulerConfig } from './scheduler.js';

/** A check of one field: whether a value is supported, and the words for those that are. */
export interface FieldCheck {
  readonly accepts: (value: unknown) => boolean;
  readonly expected: string;
}

/** The checks of the fields with a fixed set of values, or of a type that their default does not tell. */
export type FieldChecks<T> = { readonly [K in keyof T]?: readonly T[K][] | FieldCheck };

const isNumberList = (value: unknown) => Array.isArray(value) && value.every((item) => typeof item === 'number');

/** Accepts a list of numbers. */
export const numberList: FieldCheck = { accepts: isNumberList, expected: 'a list of numbers' };

/** Accepts a list of numbers, or null for none. */
export const numberListOrNull: FieldCheck = {
  accepts: (value) => value === null || isNumberList(value),
  expected: 'a list of numbers or null',
};

/** Accepts a number, or null for none. */
export const numberOrNull: FieldCheck = {
  accepts: (value) => value === null || typeof value === 'number',
  expected: 'a number or null',
};

/** Accepts a number from 0 to 1. */
export const fraction: FieldCheck = {
  accepts: (value) => typeof value === 'number' && value >= 0 && value <= 1,
  expected: '0 to 1',
};

/**
 * Fills in the defaults of a scheduler class. Keeps fields of other classes, as diffusers does: `clip_sample` in a PNDM
 * file reaches a DDIM scheduler created from its config. A null or 0 for a Boolean is false, and 1 is true, as in
 * Python.
 * @param filledIn the names of the options that count as filled in; those that `config` lacks by default
 * @throws if a field has the wrong type or an unsupported value; lists all such fields
 */
export function resolveConfig<T extends object>(
  className: string,
  defaults: T,
  config: SchedulerConfig,
  checks: FieldChecks<T>,
  filledIn?: readonly string[],
): Readonly<T> & SchedulerConfig {
  const fields = Object.entries(config)
    .filter(([name, value]) => value !== undefined && !name.startsWith('_'))
    .map(([name, value]) => [name, asBoolean(defaults[name as keyof T], value)] as const);
  const problems = fields.flatMap(([name, value]) => problemOf(defaults, checks, name as keyof T & string, value));
  if (problems.length > 0)
    throw new Error(`${className}: ${problems.join('; ')}. Correct scheduler_config.json or the options.`);
  const explicit = Object.fromEntries(fields);
  return Object.freeze({
    ...defaults,
    ...explicit,
    _class_name: className,
    _use_default_values: filledIn ?? Object.keys(defaults).filter((name) => !Object.hasOwn(explicit, name)),
  });
}

/** Returns the fields set by a file or a caller, without the defaults that a class filled in. */
export function explicitFields(config: SchedulerConfig): SchedulerConfig {
  const filledIn = (config._use_default_values ?? []) as readonly string[];
  return Object.fromEntries(
    Object.entries(config).filter(([name]) => !name.startsWith('_') && !filledIn.includes(name)),
  );
}

/** Takes null and 0 as false, and 1 as true, where a Boolean is expected; other values stay as they are. */
function asBoolean(defaultValue: unknown, value: unknown): unknown {
  if (typeof defaultValue !== 'boolean') return value;
  if (value === null || value === 0) return false;
  return value === 1 ? true : value;
}

function problemOf<T extends object>(
  defaults: T,
  checks: FieldChecks<T>,
  name: keyof T & string,
  value: unknown,
): string[] {
  if (!Object.hasOwn(defaults, name)) return [];
  const got = `${name} got ${excerptJson(value)}, expected`;
  const check: readonly unknown[] | FieldCheck | undefined = checks[name];
  if (check && 'accepts' in check) return check.accepts(value) ? [] : [`${got} ${check.expected}`];
  if (check) return check.includes(value) ? [] : [`${got} ${oneOf(check)}`];
  if (Number.isNaN(value)) return [`${got} a number`];
  return typeof value === typeof defaults[name] ? [] : [`${got} a ${typeof defaults[name]}`];
}

const oneOf = (values: readonly unknown[]) => `${values.length > 1 ? 'one of ' : ''}${values.map(String).join(', ')}`;
