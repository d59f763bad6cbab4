import type { ReportedRun } from './reported-run.js';

/** A setting with its value in each run, as text; '' where a run does not have it. */
export interface Setting {
  readonly name: string;
  readonly values: readonly string[];
}

/** The places where runs write. They differ in all runs, and say nothing about them. */
const places = ['output_dir', 'logdir', 'run_name', 'project_kwargs'];

/** The inputs of the runs, their configuration and the other options that were given. */
export const settingsOf = (runs: readonly ReportedRun[]): readonly Setting[] =>
  joined(
    runs.map(({ manifest: { algorithm, identity = {}, config, options = {} } }) => ({
      algorithm,
      ...Object.fromEntries(Object.entries(identity).map(([name, part]) => [name, part.name])),
      ...config,
      ...Object.fromEntries(Object.entries(options).map(([key, value]) => [flagOf(key), value])),
    })),
  );

/** Versions of the packages and the machine that computed the runs. */
export const environmentOf = (runs: readonly ReportedRun[]): readonly Setting[] =>
  joined(runs.map(({ manifest: { identity, versions = {} } }) => ({ engine: identity?.engine?.name, ...versions })));

/** The settings that are not the same in all runs. Inputs of one name with different contents are marked. */
export function differencesOf(runs: readonly ReportedRun[]): readonly Setting[] {
  const hashes = joined(
    runs.map(({ manifest: { identity = {} } }) =>
      Object.fromEntries(Object.entries(identity).map(([name, part]) => [name, part.sha256])),
    ),
  );
  const isOtherContent = (name: string) => isDifferent(hashes.find((hash) => hash.name === name));
  return [...settingsOf(runs), ...environmentOf(runs)].flatMap((setting) => {
    if (places.includes(setting.name)) return [];
    if (isDifferent(setting)) return [setting];
    return isOtherContent(setting.name) ? [{ ...setting, name: `${setting.name} (other contents)` }] : [];
  });
}

const isDifferent = (setting: Setting | undefined): boolean => new Set(setting?.values).size > 1;

/** The flag of an option by its key in commander. */
export const flagOf = (key: string): string => `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

function joined(tables: readonly Readonly<Record<string, unknown>>[]): readonly Setting[] {
  const names = [...new Set(tables.flatMap((table) => Object.keys(table)))];
  return names.map((name) => ({
    name,
    values: tables.map((table) => (Object.hasOwn(table, name) ? text(table[name]) : '')),
  }));
}

/** A value as text. An option that is null is not set, like one that is not there. */
function text(value: unknown): string {
  if (typeof value === 'string') return value;
  return value === null || value === undefined ? '' : JSON.stringify(value);
}
