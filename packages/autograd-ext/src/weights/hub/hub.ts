import { directory } from '../files/directory.js';
import type { FileSource } from '../files/file-source.js';
import { openLocalFile } from '../files/local-file.js';
import { joinPath } from '../files/paths.js';
import { hubCache, type HubCache } from './hub-cache.js';
import { HubRefusal, HubUnreachableError } from './hub-request.js';
import { hubSettings, type HubOptions, type HubSettings } from './hub-settings.js';
import { idsOf } from './moved-ids.js';
import { findRepository, remoteRepository } from './remote-repository.js';
import type { Repository } from './repository.js';
import { isTransient, withRetries } from './retries.js';

/** The form of a repository's id: `organisation/name`. */
export const HUB_ID = /^\w[\w.-]*\/\w[\w.-]*$/;

/**
 * The files of a model repository, or of a data set (`repoType`), of the Hugging Face hub. Opening a file downloads it
 * to the cache of Python's huggingface_hub. Uses the files of the cache where the hub does not answer, refuses, or has
 * a fault; as in Python, not where it says that there is no such revision. Finds repositories that moved under the name
 * that the hub or the cache has. The environment supplies the options that are not given; the package's README lists
 * its variables.
 * @throws if `id` is not `org/name`. The methods throw if a file is not in the cache and the hub refuses or cannot be
 *   reached, and the reason of the signal if that is aborted before the file is there
 */
export function hub(id: string, options: HubOptions = {}): FileSource {
  if (!HUB_ID.test(id))
    throw new Error(
      `hub: id got '${id}', expected 'organisation/name'. Copy it from the page of the model or data set.`,
    );
  const ids = options.repoType === 'dataset' ? ([id] as const) : idsOf(id);
  let opening: Promise<Repository> | undefined;
  const repository = () => {
    opening ??= openRepository(ids, options);
    opening.catch(() => (opening = undefined)); // retry at the next call
    return opening;
  };
  return {
    location: options.revision ? `${ids[0]}@${options.revision}` : ids[0],
    has: async (path) => (await repository()).has(joinPath(path)),
    list: async (folder = '') => (await repository()).list(joinPath(folder)),
    open: async (path) => openLocalFile(await (await repository()).fetch(joinPath(path))),
  };
}

/** Opens the repository on the hub, or its copy in the cache if the run is offline or the hub fails. */
async function openRepository(ids: readonly [string, ...string[]], options: HubOptions): Promise<Repository> {
  const settings = await hubSettings(options);
  const caches = await Promise.all(ids.map((id) => hubCache(settings, id)));
  if (settings.localFilesOnly) {
    const reason = 'This is an offline run (HF_HUB_OFFLINE or localFilesOnly): run once online.';
    return (await cachedRepository(ids[0], settings, caches, reason)) ?? notCached(ids[0], settings, caches, reason);
  }
  const online = async (): Promise<Repository> => {
    const found = await findRepository(ids, settings);
    return remoteRepository(found, settings, await chooseCache(caches, ids.indexOf(found.id)));
  };
  try {
    return await online();
  } catch (error) {
    if (!mayUseCache(error, ids)) throw error;
    const cached = await cachedRepository(ids[0], settings, caches, error.message, error);
    if (cached) {
      settings.onWarning(`${error.message} Using the files of the cache.`);
      return cached;
    }
    if (error instanceof HubUnreachableError) return notCached(ids[0], settings, caches, error.message, error);
    if (!isTransient(error)) throw error;
    return withRetries(settings, online);
  }
}

/**
 * Whether files of the cache may be used in spite of an error of the hub. A revision that does not exist is an error,
 * except of a repository that moved: the new one may lack old branches.
 */
const mayUseCache = (error: unknown, ids: readonly string[]): error is HubRefusal | HubUnreachableError =>
  error instanceof HubUnreachableError ||
  (error instanceof HubRefusal && (error.code !== 'RevisionNotFound' || ids.length > 1));

/** Returns the folder that already has files of the repository, under any of its ids; else that of its present id. */
async function chooseCache(caches: readonly HubCache[], present: number): Promise<HubCache> {
  for (const cache of [caches[present]!, ...caches]) if (await cache.exists()) return cache;
  return caches[present]!;
}

/** Opens the copy in the cache, under any of its ids; undefined if there is none. */
async function cachedRepository(
  id: string,
  { revision }: HubSettings,
  caches: readonly HubCache[],
  reason: string,
  cause?: Error,
): Promise<Repository | undefined> {
  for (const cache of caches) {
    const commit = await cache.commitOf(revision);
    if (commit === undefined) continue;
    const files = directory(cache.snapshot(commit));
    return {
      has: files.has,
      list: files.list,
      fetch: async (path) => {
        if (await files.has(path)) return (await import('node:path')).join(files.location, path);
        const problem = (await cache.isAbsent(commit, path))
          ? `does not exist in revision '${revision}'. Check the name.`
          : `is not in the cache '${files.location}'. ${reason}`;
        throw new Error(`hub: '${path}' of '${id}' ${problem}`, { cause });
      },
    };
  }
  return undefined;
}

function notCached(
  id: string,
  { revision }: HubSettings,
  caches: readonly HubCache[],
  reason: string,
  cause?: Error,
): never {
  throw new Error(`hub: revision '${revision}' of '${id}' is not in the cache '${caches[0]!.folder}'. ${reason}`, {
    cause,
  });
}
