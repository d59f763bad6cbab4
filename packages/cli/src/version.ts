import { createRequire } from 'node:module';

/** The version of this package. Its package.json is beside src/ and dist/, so this file has to stay at their top. */
export function programVersion(): string {
  const { version } = createRequire(import.meta.url)('../package.json') as { version: string };
  return version;
}
