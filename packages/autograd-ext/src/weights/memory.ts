import { joinPath, type FileSource } from './file-source.js';

/** Files given as bytes or text, by path. */
export function memory(files: Readonly<Record<string, Uint8Array | string>>, location = 'memory'): FileSource {
  const contents = new Map(
    Object.entries(files).map(([path, data]) => [joinPath(path), typeof data === 'string' ? new TextEncoder().encode(data) : data]),
  );
  return {
    location,
    has: async (path) => contents.has(joinPath(path)),
    list: async (folder = '') => filesIn(contents.keys(), folder),
    open: async (path) => {
      const data = contents.get(joinPath(path));
      const name = `${location}/${joinPath(path)}`;
      if (!data) throw new Error(`memory: there is no file '${name}'. Known: ${[...contents.keys()].join(', ') || 'none'}.`);
      return {
        name,
        size: data.byteLength,
        close: async () => {},
        read: async (offset, length) => {
          if (offset + length > data.byteLength) throw new RangeError(`memory: '${name}' got a read of bytes ${offset} to ${offset + length}, expected at most ${data.byteLength}.`);
          return data.slice(offset, offset + length);
        },
      };
    },
  };
}

/** Names of the paths that lie directly in a folder, sorted. */
export function filesIn(paths: Iterable<string>, folder: string): string[] {
  const prefix = joinPath(folder) && `${joinPath(folder)}/`;
  return [...paths]
    .filter((path) => path.startsWith(prefix) && !path.slice(prefix.length).includes('/'))
    .map((path) => path.slice(prefix.length))
    .sort();
}
