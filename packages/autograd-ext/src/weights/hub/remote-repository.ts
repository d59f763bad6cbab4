import { readBody } from '../../outside/body.js';
import { excerptList } from '../../outside/excerpt.js';
import { parseJson } from '../../outside/json.js';
import { directory } from '../files/directory.js';
import { ifPresent } from '../../if-present.js';
import { filesIn } from '../files/paths.js';
import { withBlobLock } from './blob-lock.js';
import type { HubCache } from './hub-cache.js';
import { downloadBlob } from './hub-download.js';
import { describeFile, type FileTarget } from './hub-file.js';
import { HubRefusal, hubRequest, HubUnreachableError, pageOf } from './hub-request.js';
import type { HubSettings } from './hub-settings.js';
import type { Repository } from './repository.js';
import { withRetries } from './retries.js';

/** A repository that the hub has listed. */
export interface ListedRepository {
  readonly id: string;
  readonly commit: string;
  readonly paths: ReadonlySet<string>;
}

/**
 * Asks the hub for the commit of the revision and its files, under the first id that it has.
 * @throws the error of the first id if it has none of them
 */
export async function findRepository(
  [id, ...others]: readonly [string, ...string[]],
  settings: HubSettings,
): Promise<ListedRepository> {
  try {
    return await listRepository(id, settings);
  } catch (error) {
    if (!(error instanceof HubRefusal && [401, 404].includes(error.status))) throw error;
    for (const other of others) {
      const listed = await listRepository(other, settings).catch(() => settings.signal?.throwIfAborted());
      if (listed) return listed;
    }
    throw error;
  }
}

/** The most bytes of a list of files: the largest repositories have a hundred thousand. */
const MAX_LISTING = 2 ** 26;

const isListing = (files: unknown): files is readonly { readonly rfilename: string }[] =>
  Array.isArray(files) &&
  files.every((file) => typeof (file as { rfilename?: unknown } | null)?.rfilename === 'string');

async function listRepository(id: string, settings: HubSettings): Promise<ListedRepository> {
  const { endpoint, repoType, revision } = settings;
  const url = `${endpoint}/api/${repoType}s/${id}/revision/${encodeURIComponent(revision)}`;
  const signal = AbortSignal.timeout(settings.answerTimeout * 1000);
  const response = await hubRequest(url, settings, { id, revision }, { signal });
  const info = (await readBody(response, MAX_LISTING)
    .then(parseJson)
    .catch(() => settings.signal?.throwIfAborted())) as { sha?: unknown; siblings?: unknown } | null | undefined;
  if (typeof info?.sha !== 'string' || !/^[0-9a-f]{40}$/.test(info.sha) || !isListing(info.siblings))
    throw new HubUnreachableError(
      `hub: '${url}' got another answer, expected a repository's commit and files. ` +
        'Check that HF_ENDPOINT is a Hugging Face hub.',
    );
  return { id, commit: info.sha, paths: new Set(info.siblings.map(({ rfilename }) => rfilename)) };
}

/** The files of a repository on the hub, downloaded to the cache when they are fetched. */
export function remoteRepository(listed: ListedRepository, settings: HubSettings, cache: HubCache): Repository {
  const downloads = new Map<string, Promise<string>>();
  let recording: Promise<void> | undefined;
  return {
    has: (path) => listed.paths.has(path),
    list: (folder) => filesIn(listed.paths, folder),
    fetch: (path) => {
      const download = downloads.get(path) ?? fetchAndRecord(path);
      downloads.set(path, download);
      download.catch(() => downloads.delete(path)); // retry at the next call
      return download;
    },
  };

  /** Records the commit after the first file: until then, an earlier commit of the cache stays in use. */
  async function fetchAndRecord(path: string): Promise<string> {
    const local = await fetchFile(listed, path, settings, cache);
    recording ??= cache
      .setCommit(settings.revision, listed.commit)
      .catch((error: unknown) => settings.onWarning(`hub: cannot update the cache. ${(error as Error).message}`));
    await recording;
    return local;
  }
}

async function fetchFile(
  { id, commit, paths }: ListedRepository,
  path: string,
  settings: HubSettings,
  cache: HubCache,
): Promise<string> {
  const { join } = await import('node:path');
  const { revision } = settings;
  const local = directory(cache.snapshot(commit));
  const target: FileTarget = { id, revision, path };
  if (!paths.has(path)) {
    await cache.setAbsent(commit, path);
    throw new Error(
      `hub: '${path}' of '${id}' does not exist in revision '${revision}'. ` +
        `It has ${excerptList([...paths].sort(), 40) || 'no file'}.`,
    );
  }
  if (await local.has(path)) return join(local.location, path);
  const encoded = path.split('/').map(encodeURIComponent).join('/');
  const url = `${pageOf(id, settings)}/resolve/${commit}/${encoded}`;
  const file = await withRetries(settings, () => describeFile(url, settings, target));
  const blob = cache.blob(file.etag);
  const isComplete = async (): Promise<boolean> => {
    const { stat } = await import('node:fs/promises');
    const entry = await ifPresent(stat(blob));
    const isWhole = entry !== undefined && (file.size === undefined || entry.size === file.size);
    return isWhole || local.has(path); // without symbolic links, the file is there and the blob is not
  };
  if (!(await isComplete()))
    await withBlobLock(cache, file.etag, { isComplete, settings }, (incomplete) =>
      downloadBlob(file, { incomplete, blob }, settings, target),
    );
  return cache.link(file.etag, commit, path);
}
