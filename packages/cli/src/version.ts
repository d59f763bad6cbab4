import { readFileSync } from 'node:fs';

/** The version of this package. Its package.json is beside src/ and dist/, so this file has to stay at their top. */
export function programVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  return version;
}
