import { directory, openLocalFile } from '../files/directory.js';
import { joinPath, type FileSource } from '../files/file-source.js';
import { hubCache, type HubCache } from './hub-cache.js';
import { describeFile, downloadBlob } from './hub-download.js';
import { hubRequest, HubUnreachableError } from './hub-request.js';
import { hubSettings, type HubOptions, type HubSettings } from './hub-settings.js';
import { filesIn } from '../files/memory.js';

/** Repositories that moved. */
const MOVED = new Map([['runwayml/stable-diffusion-v1-5', 'stable-diffusion-v1-5/stable-diffusion-v1-5']]);

/** `org/name`. */
export const HUB_ID = /^\w[\w.-]*\/\w[\w.-]*$/;

/**
 * A model repository of the Hugging Face hub. A file is downloaded when it is opened, into the cache that Python's
 * huggingface_hub uses too; without a connection, what is in the cache is used. Options not given come from the
 * environment (HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_OFFLINE).
 * @throws if `id` is not `org/name`; its methods throw if the hub refuses, or cannot be reached and the cache lacks the
 *   file
 */
export function hub(id: string, options: HubOptions = {}): FileSource {
  if (!HUB_ID.test(id))
    throw new Error(`hub: id got '${id}', expected 'organisation/name'. Copy it from the model's page.`);
  const name = MOVED.get(id) ?? id;
  let opening: Promise<Repository> | undefined;
  const repository = () => {
    opening ??= openRepository(name, options);
    opening.catch(() => (opening = undefined)); // the next call tries again
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
  /** The path of a file on this machine, downloaded if need be. */
  fetch(path: string): Promise<string>;
}

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
      download.catch(() => downloads.delete(path)); // the next call tries again
      return download;
    },
  };

  async function fetchFile(path: string): Promise<string> {
    const { join } = await import('node:path');
    const target = { id, revision, path };
    if (!paths.has(path))
      throw new Error(
        `hub: '${path}' of '${id}' does not exist in revision '${revision}'. It has ${[...paths].sort().join(', ') || 'no file'}.`,
      );
    if (!(await local.has(path))) {
      const place = path.split('/').map(encodeURIComponent).join('/');
      const file = await describeFile(`${endpoint}/${id}/resolve/${commit}/${place}`, settings, target);
      if (!(await isFile(cache.blob(file.etag)))) await downloadBlob(file, cache.blob(file.etag), settings, target);
      await cache.link(file.etag, commit, path);
    }
    return join(local.location, path);
  }
}

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
      `hub: '${url}' got another answer, expected a repository's commit and files. Check that HF_ENDPOINT is a Hugging Face hub.`,
    );
  return { commit: info.sha, paths: new Set(info.siblings.map(({ rfilename }) => rfilename)) };
}

async function isFile(path: string): Promise<boolean> {
  const { stat } = await import('node:fs/promises');
  return stat(path).then(
    (entry) => entry.isFile(),
    () => false,
  );
}
