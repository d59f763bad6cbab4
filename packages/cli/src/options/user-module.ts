import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { shareOwnPackages } from './own-packages.js';

/**
 * Imports a module of the user's, which gets the command's own copies of the packages that both use.
 * @param flag the flag that named it, for messages
 * @throws if it cannot be run; the message says what to install
 */
export async function importModule(path: string, flag: string): Promise<Readonly<Record<string, unknown>>> {
  shareOwnPackages();
  try {
    return (await import(pathToFileURL(resolve(path)).href)) as Record<string, unknown>;
  } catch (cause) {
    const { message } = cause as Error;
    throw new Error(
      `${flag}: cannot load '${path}': ${message.split('\n')[0]!}${advice(cause as NodeJS.ErrnoException)}`,
      { cause },
    );
  }
}

function advice({ code, message }: NodeJS.ErrnoException): string {
  if (code === 'ERR_UNKNOWN_FILE_EXTENSION' && /\.[cm]?ts\b/.test(message))
    return (
      `. Node ${process.versions.node} does not run TypeScript: ` +
      'use Node 22.18 or newer, or compile the file to .mjs.'
    );
  if (code === 'ERR_MODULE_NOT_FOUND')
    return (
      ". Install the packages that it imports in the file's folder; " +
      '@tensorflow/tfjs-core and @alignprop/… come with the command.'
    );
  if (code === 'MODULE_NOT_FOUND')
    return ". Install the packages that it requires in the file's folder, or write it with import.";
  if (/does not provide an export named/.test(message))
    return '. The module gets the packages of this command: compare their versions with those it was written for.';
  return '';
}
