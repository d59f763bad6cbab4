import { excerptList } from '../../outside/excerpt.js';
import type { FileSource, RandomAccessFile } from './file-source.js';
import { filesIn, joinPath } from './paths.js';

/** Files in memory: bytes or text by path. Bytes may be a `Buffer` of Node or lie anywhere in their buffer. */
export function memory(files: Readonly<Record<string, Uint8Array | string>>, location = 'memory'): FileSource {
  const contents = new Map(
    Object.entries(files).map(([path, data]) => [
      joinPath(path),
      typeof data === 'string' ? new TextEncoder().encode(data) : plainBytes(data),
    ]),
  );
  return {
    location,
    has: (path) => Promise.resolve(contents.has(joinPath(path))),
    list: (folder = '') => Promise.resolve(filesIn(contents.keys(), folder)),
    open: (path) => {
      const data = contents.get(joinPath(path));
      const name = `${location}/${joinPath(path)}`;
      if (data) return Promise.resolve(openBytes(name, data));
      return Promise.reject(
        new Error(`memory: there is no file '${name}'. Known: ${excerptList(contents.keys()) || 'none'}.`),
      );
    },
  };
}

/** Returns the same bytes as a plain array: `slice` of a Buffer copies nothing, and may begin at any position. */
const plainBytes = ({ buffer, byteOffset, byteLength }: Uint8Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

function openBytes(name: string, data: Uint8Array): RandomAccessFile {
  const size = data.byteLength;
  return {
    name,
    size,
    close: () => Promise.resolve(),
    read: (offset, length) => {
      if (offset + length <= size) return Promise.resolve(data.slice(offset, offset + length));
      return Promise.reject(
        new RangeError(
          `memory: '${name}' got a read of bytes ${offset} to ${offset + length}, expected at most ${size}.`,
        ),
      );
    },
  };
}
