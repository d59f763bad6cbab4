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
 * @param others packages that are of use with it, and are installed by the same command
 * @throws if neither has it, or it cannot be loaded; the message gives the command that installs it
 */
export async function importOptional<T>(
  specifier: string,
  load: () => Promise<T>,
  others: readonly string[] = [],
): Promise<T> {
  const { module, error } = await findOptional(specifier, load);
  if (!error) return module;
  const name = packageName(specifier);
  const [why] = error.message.split('\n');
  throw new Error(`the package '${name}' cannot be loaded: ${why}. Run '${await installCommand(name, ...others)}'`, {
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
  const found = await installation(import.meta.url);
  const names = packages.join(' ');
  if (!isNode()) return `npm install ${names}`;
  if (found?.kind === 'global') return `npm install -g ${names}`;
  const root = found?.kind === 'project' ? found.root : `file://${process.cwd()}`;
  return `${(await managerOf(root)).add} ${names}`;
}

/**
 * Returns the command that runs the install script of a package again where this library finds it: globally, if it is
 * installed so itself, else with the package manager whose lockfile the project has.
 */
export async function rebuildCommand(name: string, { module = import.meta.url }: CommandPlace = {}): Promise<string> {
  const found = await installation(module);
  if (found?.kind === 'global') return `npm rebuild -g ${name}`;
  return `${found?.kind === 'project' ? (await managerOf(found.root)).rebuild : 'npm rebuild'} ${name}`;
}

/** The place of an installed module. */
interface Installation {
  /** The file: URL of the folder around the outermost node_modules. */
  readonly root: string;
  readonly kind: 'global' | 'project' | 'npx';
}

/** The module that is looked at, and the folder that commands are run in. Both are those of this process by default. */
export interface CommandPlace {
  readonly module?: string;
  readonly cwd?: string;
}

/**
 * Returns the words that run a program which is installed beside this library: its name alone, if that is installed
 * globally or is run from its sources; in a project, with the package manager whose lockfile that has.
 * @param packageName the package of the program, which npx names where it has installed that in its cache
 */
export async function programCommand(
  program: string,
  packageName: string,
  { module = import.meta.url, cwd }: CommandPlace = {},
): Promise<readonly string[]> {
  const found = await installation(module);
  if (!found || found.kind === 'global') return [program];
  if (found.kind === 'npx') return ['npx', packageName];
  const { pathToFileURL } = await import('node:url');
  const isInside = `${pathToFileURL(cwd ?? process.cwd()).href}/`.startsWith(`${found.root}/`);
  return isInside ? [...(await managerOf(found.root)).run, program] : ['node', process.argv[1]!];
}

/**
 * Package managers by their lockfiles, with the words that add a package, that run a program of one, and that run its
 * install script again: yarn 1 and bun have none, and npm does it in their folders.
 */
const packageManagers = table({
  'pnpm-lock.yaml': { add: 'pnpm add', run: ['pnpm', 'exec'], rebuild: 'pnpm rebuild' },
  'yarn.lock': { add: 'yarn add', run: ['yarn', 'run'], rebuild: 'npm rebuild' },
  'bun.lock': { add: 'bun add', run: ['bunx'], rebuild: 'npm rebuild' },
  'package-lock.json': { add: 'npm install', run: ['npx'], rebuild: 'npm rebuild' },
});

/** The package manager of a project; npm, if it has no lockfile. @param root a file: URL */
async function managerOf(root: string) {
  const { stat } = await import('node:fs/promises');
  for (const [lockfile, manager] of Object.entries(packageManagers))
    if (await ifPresent(stat(new URL(`${root}/${lockfile}`)))) return manager;
  return packageManagers['package-lock.json']!;
}

/** Returns where a module is installed; undefined outside node_modules, and in a browser. */
async function installation(module: string): Promise<Installation | undefined> {
  const [root, ...inside] = module.split('/node_modules/');
  if (!isNode() || inside.length === 0 || !module.startsWith('file:')) return undefined;
  if (/\/_npx\/[^/]+$/.test(root!)) return { root: root!, kind: 'npx' };
  const { stat } = await import('node:fs/promises');
  // A folder of global packages is no project: it has no package.json.
  const isProject = await ifPresent(stat(new URL(`${root}/package.json`)));
  return { root: root!, kind: isProject ? 'project' : 'global' };
}

const isNode = (): boolean => typeof process !== 'undefined' && process.versions?.node !== undefined;

async function importFromWorkingFolder<T>(specifier: string): Promise<T> {
  const { createRequire } = await import('node:module');
  const { pathToFileURL } = await import('node:url');
  const path = createRequire(`${process.cwd()}/package.json`).resolve(specifier);
  const module = (await import(/* webpackIgnore: true */ /* @vite-ignore */ pathToFileURL(path).href)) as {
    readonly default?: object;
  };
  return { ...module.default, ...module } as T; // of CommonJS, not every export has a name
}
