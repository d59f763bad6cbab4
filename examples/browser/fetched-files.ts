import type { FileSource, RandomAccessFile } from '@alignprop/autograd-ext/weights';

/** Called with the bytes that have arrived of all files so far, and the sum of their sizes. */
export type OnBytes = (bytes: number, total: number) => void;

/** The name of the browser's cache that keeps the files. */
const cacheName = 'alignprop-models';

/**
 * The files of a model at addresses of the web, fetched when they are opened and kept in the browser's cache. They are
 * read by ranges, so that a large file is not in memory as a whole.
 * @param addresses the address of each file by its path
 */
export function fetchedFiles(location: string, addresses: ReadonlyMap<string, string>, onBytes: OnBytes): FileSource {
  const blobs = new Map<string, Promise<Blob>>();
  let [arrived, total] = [0, 0];
  const fetchOnce = (path: string, address: string): Promise<Blob> => {
    const blob = blobs.get(path) ?? cachedBlob(address, (bytes, size) => onBytes((arrived += bytes), (total += size)));
    blobs.set(path, blob);
    return blob;
  };
  return {
    location,
    has: (path) => Promise.resolve(addresses.has(path)),
    list: (folder = '') => Promise.resolve(filesIn([...addresses.keys()], folder)),
    async open(path) {
      const address = addresses.get(path);
      if (address === undefined) throw new Error(`${location} has no file '${path}'. Choose another model.`);
      return openBlob(`${location}/${path}`, await fetchOnce(path, address));
    },
  };
}

function filesIn(paths: readonly string[], folder: string): string[] {
  const start = folder === '' ? '' : `${folder}/`;
  const inside = paths.filter((path) => path.startsWith(start)).map((path) => path.slice(start.length));
  return inside.filter((path) => !path.includes('/')).sort();
}

const openBlob = (name: string, blob: Blob): RandomAccessFile => ({
  name,
  size: blob.size,
  read: async (offset, length) => new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer()),
  close: () => Promise.resolve(),
});

/** Called with the bytes that have just arrived, and once with the size of the file, where the server tells it. */
type OnPiece = (bytes: number, size: number) => void;

/** Takes a file from the cache, or fetches and keeps it. Pages that are not secure have no cache. */
async function cachedBlob(address: string, onPiece: OnPiece): Promise<Blob> {
  const cache = await (globalThis.caches as CacheStorage | undefined)?.open(cacheName);
  const cached = await cache?.match(address);
  if (cached) return cached.blob();
  const response = counted(await fetched(address), onPiece);
  if (!cache) return response.blob();
  await cache.put(address, response);
  return (await cache.match(address))!.blob();
}

async function fetched(address: string): Promise<Response> {
  const response = await fetch(address);
  if (response.ok) return response;
  throw new Error(`${address} answers ${response.status} ${response.statusText}. Check the name of the model.`);
}

/** A response whose bytes are counted as they are read. */
function counted(response: Response, onPiece: OnPiece): Response {
  onPiece(0, Number(response.headers.get('content-length') ?? 0));
  const counter = new TransformStream<Uint8Array, Uint8Array>({
    transform(piece, controller) {
      onPiece(piece.byteLength, 0);
      controller.enqueue(piece);
    },
  });
  return new Response(response.body!.pipeThrough(counter));
}
