import { readFileSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseJson } from '@alignprop/autograd-ext/outside';
import { pathExists } from './path-exists.js';

/** The packages of this project. */
export const ownPackages = ['cli', 'autograd-ext', 'diffusion', 'rewards', 'lora', 'trainer'].map(
  (name) => `@alignprop/${name}`,
);

/** A package in a folder `node_modules`. */
export interface InstalledPackage {
  readonly version: string;
  readonly folder: string;
}

/** Finds a package as this one, the named ones, or a file of the working folder would. */
export function findPackage(name: string, users: readonly string[] = []): InstalledPackage | undefined {
  const own = fileURLToPath(import.meta.url);
  const starts = [own, ...users.flatMap((user) => packageFolder(user, own) ?? []), join(process.cwd(), 'x')];
  for (const start of starts) {
    const folder = packageFolder(name, start);
    if (folder) return { version: versionOf(folder), folder };
  }
  return undefined;
}

/** The folder of a package in the node_modules above a file; package.json need not be exported. */
export function packageFolder(name: string, from: string): string | undefined {
  const folders = createRequire(from).resolve.paths(name) ?? [];
  const folder = folders.map((path) => join(path, name)).find((path) => pathExists(join(path, 'package.json')));
  return folder && realpathSync(folder);
}

/** The version in the package.json of a folder. */
export const versionOf = (folder: string): string =>
  (parseJson(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string }).version;
