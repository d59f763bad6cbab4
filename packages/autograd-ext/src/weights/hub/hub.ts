import { directory } from '../files/directory.js';
import type { FileSource } from '../files/file-source.js';
import { isLocalFile, openLocalFile } from '../files/local-file.js';
import { filesIn, joinPath } from '../files/paths.js';
import { hubCache, type HubCache } from './hub-cache.js';
import { describeFile, downloadBlob } from './hub-download.js';
import { hubRequest, HubUnreachableError } from './hub-request.js';
import { hubSettings, type HubOptions, type HubSettings } from './hub-settings.js';

/** New ids of repositories that moved. */
const MOVED = new Map([['runwayml/stable-diffusion-v1-5', 'stable-diffusion-v1-5/stable-diffusion-v1-5']]);

/** The form of a repository's id: `organisation/name`. */
export const HUB_ID = /^\w[\w.-]*\/\w[\w.-]*$/;

/**
 * The files of a model repository of the Hugging Face hub. Opening a file downloads it to the cache of Python's
 * huggingface_hub; without a connection, files of the cache are used. The environment supplies the options that are not
 * given (HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_OFFLINE).
 * @throws if `id` is not `org/name`. The methods throw if the hub refuses, or if it cannot be reached and the file is
 *   not in the cache
 */
export function hub(id: string, options: HubOptions = {}): FileSource {
  if (!HUB_ID.test(id))
    throw new Error(`hub: id got '${id}', expected 'organisation/name'. Copy it from the model's page.`);
  const name = MOVED.get(id) ?? id;
  let opening: Promise<Repository> | undefined;
  const repository = () => {
    opening ??= openRepository(name, options);
    opening.catch(() => (opening = undefined)); // retry at the next call
    return opening;
  };
  return {
    location: options.revision ? `${name}@${options.revision}` : name,
    has: async (path) => (await repository()).has(joinPath(path)),
    list: async (folder = '') => (await repository()).list(joinPath(folder)),
    open: async (path) => openLocalFile(await (await repository()).fetch(joinPath(path))),
  };
}

/** A repository at one commit. */
interface Repository {
  has(path: string): boolean | Promise<boolean>;
  list(folder: string): readonly string[] | Promise<readonly string[]>;
  /** Returns the local path of a file, after downloading it if it is not in the cache. */
  fetch(path: string): Promise<string>;
}

/** Opens the repository on the hub, or its copy in the cache if the run is offline or the hub is unreachable. */
async function openRepository(id: string, options: HubOptions): Promise<Repository> {
  const settings = await hubSettings(options);
  const cache = await hubCache(settings.cacheDir, id);
  if (settings.localFilesOnly) return cachedRepository(id, settings, cache);
  try {
    return await remoteRepository(id, settings, cache);
  } catch (error) {
    if (error instanceof HubUnreachableError) return cachedRepository(id, settings, cache, error);
    throw error;
  }
}

async function cachedRepository(
  id: string,
  { revision }: HubSettings,
  cache: HubCache,
  cause?: Error,
): Promise<Repository> {
  const reason = cause ? cause.message : 'This is an offline run (HF_HUB_OFFLINE or localFilesOnly): run once online.';
  const commit = await cache.commitOf(revision);
  const files = commit === undefined ? undefined : directory(cache.snapshot(commit));
  if (!files)
    throw new Error(`hub: revision '${revision}' of '${id}' is not in the cache '${cache.folder}'. ${reason}`, {
      cause,
    });
  return {
    has: files.has,
    list: files.list,
    fetch: async (path) => {
      if (await files.has(path)) return (await import('node:path')).join(files.location, path);
      throw new Error(`hub: '${path}' of '${id}' is not in the cache '${files.location}'. ${reason}`, { cause });
    },
  };
}

async function remoteRepository(id: string, settings: HubSettings, cache: HubCache): Promise<Repository> {
  const { revision, endpoint } = settings;
  const { commit, paths } = await listRepository(id, settings);
  await cache.setCommit(revision, commit);
  const local = directory(cache.snapshot(commit));
  const downloads = new Map<string, Promise<string>>();
  return {
    has: (path) => paths.has(path),
    list: (folder) => filesIn(paths, folder),
    fetch: (path) => {
      const download = downloads.get(path) ?? fetchFile(path);
      downloads.set(path, download);
      download.catch(() => downloads.delete(path)); // retry at the next call
      return download;
    },
  };

  async function fetchFile(path: string): Promise<string> {
    const { join } = await import('node:path');
    const target = { id, revision, path };
    if (!paths.has(path))
      throw new Error(
        `hub: '${path}' of '${id}' does not exist in revision '${revision}'. ` +
          `It has ${[...paths].sort().join(', ') || 'no file'}.`,
      );
    if (!(await local.has(path))) {
      const encoded = path.split('/').map(encodeURIComponent).join('/');
      const file = await describeFile(`${endpoint}/${id}/resolve/${commit}/${encoded}`, settings, target);
      if (!(await isLocalFile(cache.blob(file.etag))))
        await downloadBlob(file, cache.blob(file.etag), settings, target);
      await cache.link(file.etag, commit, path);
    }
    return join(local.location, path);
  }
}

/** Asks the hub for the commit of the revision and its files. */
async function listRepository(
  id: string,
  settings: HubSettings,
): Promise<{ commit: string; paths: ReadonlySet<string> }> {
  const { endpoint, revision } = settings;
  const url = `${endpoint}/api/models/${id}/revision/${encodeURIComponent(revision)}`;
  const response = await hubRequest(url, settings, { id, revision }, { signal: AbortSignal.timeout(30_000) });
  const info = (await response.json().catch(() => undefined)) as
    { sha?: unknown; siblings?: { rfilename: string }[] } | undefined;
  if (typeof info?.sha !== 'string' || !/^[0-9a-f]{40}$/.test(info.sha) || !Array.isArray(info.siblings))
    throw new Error(
      `hub: '${url}' got another answer, expected a repository's commit and files. ` +
        'Check that HF_ENDPOINT is a Hugging Face hub.',
    );
  return { commit: info.sha, paths: new Set(info.siblings.map(({ rfilename }) => rfilename)) };
}
