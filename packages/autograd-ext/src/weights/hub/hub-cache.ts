import { ifPresent } from '../../if-present.js';
import { isLocalFile } from '../files/local-file.js';
import type { HubSettings } from './hub-settings.js';

/**
 * The folder of one repository in the cache, in the layout of Python's huggingface_hub:
 * `models--org--name/{refs/<revision>, snapshots/<commit>/<path> → blobs/<etag>, .no_exist/<commit>/<path>}`.
 */
export interface HubCache {
  readonly folder: string;
  /** Whether there is a folder of this repository. */
  exists(): Promise<boolean>;
  /** Returns the commit that a revision had when the hub was last asked, if it has files in the cache. */
  commitOf(revision: string): Promise<string | undefined>;
  /** @throws if the cache cannot be written and has another commit for the revision */
  setCommit(revision: string, commit: string): Promise<void>;
  snapshot(commit: string): string;
  blob(etag: string): string;
  /** Returns the path of the lock on the download of a blob. */
  lock(etag: string): string;
  /** Links a file name of a snapshot to a blob. Returns the name, or the blob if the cache cannot be written. */
  link(etag: string, commit: string, path: string): Promise<string>;
  /** Whether the hub said that a commit does not have a file. */
  isAbsent(commit: string, path: string): Promise<boolean>;
  /** Records that a commit does not have a file, if the cache can be written. */
  setAbsent(commit: string, path: string): Promise<void>;
}

const COMMIT = /^[0-9a-f]{40}$/;

/** Opens the folder of a repository in the cache. Creates nothing. */
export async function hubCache(
  { cacheDir, repoType }: Pick<HubSettings, 'cacheDir' | 'repoType'>,
  id: string,
): Promise<HubCache> {
  const { dirname, join } = await import('node:path');
  const { mkdir, readFile, stat, writeFile } = await import('node:fs/promises');
  const { writeFileAtomic } = await import('../files/write-file-atomic.js');
  const name = `${repoType}s--${id.replaceAll('/', '--')}`;
  const folder = join(cacheDir, name);
  const blob = (etag: string) => join(folder, 'blobs', etag);
  const snapshot = (commit: string) => join(folder, 'snapshots', commit);
  const absence = (commit: string, path: string) => join(folder, '.no_exist', commit, path);
  const reference = (revision: string) => join(folder, 'refs', ...revision.split('/'));
  const isFolder = async (path: string) => (await ifPresent(stat(path)))?.isDirectory() ?? false;
  const referenceOf = async (revision: string) => (await ifPresent(readFile(reference(revision), 'utf8')))?.trim();
  return {
    folder,
    blob,
    snapshot,
    lock: (etag) => join(cacheDir, '.locks', name, `${etag}.alignprop.lock`),
    exists: () => isFolder(folder),
    commitOf: async (revision) => {
      const commit = COMMIT.test(revision) ? revision : await referenceOf(revision);
      return commit && (await isFolder(snapshot(commit))) ? commit : undefined;
    },
    setCommit: async (revision, commit) => {
      if (revision !== commit && (await referenceOf(revision)) !== commit)
        await writeFileAtomic(reference(revision), commit);
    },
    link: (etag, commit, path) => linkBlob(blob(etag), join(snapshot(commit), path)),
    isAbsent: (commit, path) => isLocalFile(absence(commit, path)),
    setAbsent: async (commit, path) => {
      const record = absence(commit, path);
      await mkdir(dirname(record), { recursive: true })
        .then(() => writeFile(record, ''))
        .catch(() => {}); // the record only saves a later request
    },
  };
}

async function linkBlob(blob: string, name: string): Promise<string> {
  const { dirname, relative } = await import('node:path');
  const { mkdir, rename, rm, symlink } = await import('node:fs/promises');
  if (await isLocalFile(name)) return name; // another process has linked it
  try {
    await mkdir(dirname(name), { recursive: true });
    // The link is relative, so that the cache can be moved.
    const link = () => symlink(relative(dirname(name), blob), name);
    await link().catch(async (error: unknown) => {
      if (!hasCode(error, 'EEXIST')) throw error;
      if (await isLocalFile(name)) return;
      await rm(name, { force: true }); // a link to a blob that was deleted
      await link();
    });
    return name;
  } catch (error) {
    if (hasCode(error, 'EROFS', 'EACCES')) return blob;
    if (await isLocalFile(name)) return name;
    await rename(blob, name); // no symbolic links here (Windows without developer mode)
    return name;
  }
}

const hasCode = (error: unknown, ...codes: string[]): boolean =>
  codes.includes((error as NodeJS.ErrnoException).code ?? '');
