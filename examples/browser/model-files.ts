import type { FileSource } from '@alignprop/autograd-ext/weights';
import { fetchedFiles, type OnBytes } from './fetched-files.js';

const folder = '../../packages/cli/models/tiny-emoji/';
/** The addresses of the embedded model's files, which vite finds and serves. */
const embedded = import.meta.glob<string>('../../packages/cli/models/tiny-emoji/{model_index.json,*/*}', {
  query: '?url&no-inline',
  import: 'default',
  eager: true,
});

/**
 * Returns the files of a model: of the embedded one, or of a repository on the Hugging Face hub.
 * @param id a hub id: `organisation/name`
 * @throws if the hub does not know the model or cannot be reached
 */
export async function modelFiles(id: string | undefined, onBytes: OnBytes): Promise<FileSource> {
  if (id !== undefined) return fetchedFiles(id, await hubAddresses(id), onBytes);
  const addresses = Object.entries(embedded).map(([path, address]) => [path.slice(folder.length), address] as const);
  return fetchedFiles('tiny-emoji', new Map(addresses), onBytes);
}

const hub = 'https://huggingface.co';

async function hubAddresses(id: string): Promise<ReadonlyMap<string, string>> {
  const response = await fetch(`${hub}/api/models/${id}`);
  if (!response.ok) throw new Error(`The hub answers ${response.status} for the model '${id}'. Check its name.`);
  const { siblings } = (await response.json()) as { siblings: readonly { readonly rfilename: string }[] };
  return new Map(siblings.map(({ rfilename: path }) => [path, `${hub}/${id}/resolve/main/${path}`]));
}
