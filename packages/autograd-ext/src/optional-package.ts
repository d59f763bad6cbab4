import { table } from './outside/record.js';
import { ifPresent } from './if-present.js';

/** Tells why a package was not loaded. */
export interface LoadError {
  readonly error: Error;
  /** Whether the package is not installed; otherwise it is there, and fails to load. */
  readonly isMissing: boolean;
}

/** A package that was loaded, or the error why it was not. */
export type Found<T> =
  { readonly module: T; readonly error?: undefined } | ({ readonly module?: undefined } & LoadError);

/**
 * Imports a package that users install themselves: the copy that this library sees, else that of the working folder.
 * So it may be installed beside a command that is installed globally, or in the project where the command is run.
 * @param specifier the package, or an entry of it: `nsfwjs/models/mobilenet_v2`
 * @param load imports it by its literal name, so that bundlers see it
 * @throws if neither has it, or it cannot be loaded; the message gives the command that installs it
 */
export async function importOptional<T>(specifier: string, load: () => Promise<T>): Promise<T> {
  const { module, error } = await findOptional(specifier, load);
  if (!error) return module;
  const name = packageName(specifier);
  const [why] = error.message.split('\n');
  throw new Error(`the package '${name}' cannot be loaded: ${why}. Run '${await installCommand(name)}'`, {
    cause: error,
  });
}

/** Imports as `importOptional`, but returns the error of a package that is missing or fails to load. */
export async function findOptional<T>(specifier: string, load: () => Promise<T>): Promise<Found<T>> {
  const own = await attempt(specifier, load);
  if (!own.error || !isNode()) return own;
  const other = await attempt(specifier, () => importFromWorkingFolder<T>(specifier));
  // A copy that is there but does not load tells more than one that is missing.
  return !other.error || (own.isMissing && !other.isMissing) ? other : own;
}

async function attempt<T>(specifier: string, load: () => Promise<T>): Promise<Found<T>> {
  try {
    return { module: await load() };
  } catch (cause) {
    const error = cause instanceof Error ? cause : new Error(String(cause));
    return { error, isMissing: isMissing(packageName(specifier), error) };
  }
}

/** Whether an error says that this package is missing, rather than a file or a dependency of it. */
const isMissing = (name: string, error: Error): boolean =>
  ['MODULE_NOT_FOUND', 'ERR_MODULE_NOT_FOUND'].includes((error as NodeJS.ErrnoException).code ?? '') &&
  error.message.split('\n')[0]!.includes(`'${name}`);

const packageName = (specifier: string): string => specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');

/**
 * Returns the command that installs packages where this library finds them: globally, if it is itself, else with the
 * package manager whose lockfile the project has.
 */
export async function installCommand(...packages: readonly string[]): Promise<string> {
  const names = packages.join(' ');
  if (await isGlobal(import.meta.url)) return `npm install -g ${names}`;
  return `${await addCommand()} ${names}`;
}

/** The lockfiles of package managers, and their commands. */
const addCommands = table({
  'pnpm-lock.yaml': 'pnpm add',
  'yarn.lock': 'yarn add',
  'bun.lock': 'bun add',
  'package-lock.json': 'npm install',
});

async function addCommand(): Promise<string> {
  if (!isNode()) return 'npm install';
  const { stat } = await import('node:fs/promises');
  const [root, ...inside] = import.meta.url.split('/node_modules/');
  const project = inside.length > 0 ? root! : `file://${process.cwd()}`;
  for (const [lockfile, command] of Object.entries(addCommands))
    if (await ifPresent(stat(new URL(`${project}/${lockfile}`)))) return command;
  return 'npm install';
}

/** Whether a module lies in a global installation: the folder around its outermost node_modules is no project. */
export async function isGlobal(module: string): Promise<boolean> {
  const [root, ...inside] = module.split('/node_modules/');
  if (!isNode() || inside.length === 0 || !module.startsWith('file:')) return false;
  const { stat } = await import('node:fs/promises');
  return (await ifPresent(stat(new URL(`${root}/package.json`)))) === undefined;
}

const isNode = (): boolean => typeof process !== 'undefined' && process.versions?.node !== undefined;

async function importFromWorkingFolder<T>(specifier: string): Promise<T> {
  const { createRequire } = await import('node:module');
  const { pathToFileURL } = await import('node:url');
  const path = createRequire(`${process.cwd()}/package.json`).resolve(specifier);
  const module = (await import(/* @vite-ignore */ pathToFileURL(path).href)) as { readonly default?: object };
  return { ...module.default, ...module } as T; // of CommonJS, not every export has a name
}
