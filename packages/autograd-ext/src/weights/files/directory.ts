import type { FileSource } from './file-source.js';
import { ifPresent } from '../../if-present.js';
import { isLocalFile, openLocalFile } from './local-file.js';
import { joinPath } from './paths.js';

/** The files of a folder on this machine. The folder need not exist before its files are read. */
export function directory(path: string): FileSource {
  const resolve = async (file: string) => (await import('node:path')).resolve(path, joinPath(file));
  return {
    location: path,
    has: async (file) => isLocalFile(await resolve(file)),
    list: async (folder = '') => {
      const { readdir } = await import('node:fs/promises');
      const names = (await ifPresent(readdir(await resolve(folder)))) ?? [];
      const areFiles = await Promise.all(names.map(async (name) => isLocalFile(await resolve(`${folder}/${name}`))));
      return names.filter((_, i) => areFiles[i]).sort();
    },
    open: async (file) => openLocalFile(await resolve(file)),
  };
}
