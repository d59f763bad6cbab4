import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { UsageError } from '../terminal/errors.js';

/**
 * Reads the JSON file of `--config` and sets the options that no flag has set. Names may be in snake or camel case.
 * @returns the entries whose names are no options
 * @throws UsageError if the file cannot be read or is not a JSON object
 */
export async function applyConfigFile(command: Command): Promise<Record<string, unknown>> {
  const path = command.getOptionValue('config') as string | undefined;
  const entries = path === undefined ? [] : Object.entries(await readConfig(path));
  const known = new Set(command.options.map((option) => option.attributeName()));
  for (const [name, value] of entries) {
    const key = camelCase(name);
    if (known.has(key) && command.getOptionValueSource(key) !== 'cli')
      command.setOptionValueWithSource(key, value, 'config');
  }
  return Object.fromEntries(entries.filter(([name]) => !known.has(camelCase(name))));
}

async function readConfig(path: string): Promise<Record<string, unknown>> {
  const problem = (what: string, cause?: unknown) =>
    new UsageError(`--config: '${path}' ${what}. Give a JSON file such as a run's config.json.`, { cause });
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw problem(`cannot be read: ${(cause as Error).message}`, cause);
  });
  let value: unknown;
  try {
    value = JSON.parse(decodeText(bytes));
  } catch (cause) {
    throw problem(`is not JSON: ${(cause as Error).message}`, cause);
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw problem('is not a JSON object');
}

/** Decodes UTF-8, or UTF-16 with a byte order mark; Windows' editors and shells write marks. Leaves out the mark. */
function decodeText(bytes: Uint8Array): string {
  const [first, second] = bytes;
  const encoding =
    first === 0xff && second === 0xfe ? 'utf-16le' : first === 0xfe && second === 0xff ? 'utf-16be' : 'utf-8';
  return new TextDecoder(encoding).decode(bytes);
}

const camelCase = (name: string): string => name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
