/**
 * Imports a package that users install themselves: the copy that this library sees, else that of the working folder.
 * So it may be installed beside a command that is installed globally, or in the project where the command is run.
 * @param specifier the package, or an entry of it: `nsfwjs/models/mobilenet_v2`
 * @param load imports it by its literal name, so that bundlers see it
 * @throws if neither has it, or it cannot be loaded; the message gives the command that installs it
 */
export async function importOptional<T>(specifier: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (cause) {
    const found = await importFromWorkingFolder<T>(specifier).catch(() => undefined);
    if (found !== undefined) return found;
    const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
    const [why] = (cause as Error).message.split('\n');
    throw new Error(`the package '${name}' cannot be loaded: ${why}. Run '${await installCommand(name)}'`, { cause });
  }
}

/** Returns the command that installs packages where this library finds them: globally, if it is itself. */
export async function installCommand(...packages: readonly string[]): Promise<string> {
  return `npm install ${(await isGlobal(import.meta.url)) ? '-g ' : ''}${packages.join(' ')}`;
}

/** Whether a module lies in a global installation: the folder around its outermost node_modules is no project. */
export async function isGlobal(module: string): Promise<boolean> {
  const [root, ...inside] = module.split('/node_modules/');
  if (!isNode() || inside.length === 0 || !module.startsWith('file:')) return false;
  const { existsSync } = await import('node:fs');
  return !existsSync(new URL(`${root}/package.json`));
}

const isNode = (): boolean => typeof process !== 'undefined' && process.versions?.node !== undefined;

async function importFromWorkingFolder<T>(specifier: string): Promise<T | undefined> {
  if (!isNode()) return undefined;
  const { createRequire } = await import('node:module');
  const { pathToFileURL } = await import('node:url');
  const path = createRequire(`${process.cwd()}/package.json`).resolve(specifier);
  const module = (await import(/* @vite-ignore */ pathToFileURL(path).href)) as { readonly default?: object };
  return { ...module.default, ...module } as T; // of CommonJS, not every export has a name
}
