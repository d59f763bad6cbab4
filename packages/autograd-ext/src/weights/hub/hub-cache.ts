/**
 * The folder of one repository in the cache, in the layout of Python's huggingface_hub:
 * `models--org--name/{refs/<revision>, snapshots/<commit>/<path> → blobs/<etag>}`.
 */
export interface HubCache {
  readonly folder: string;
  /** Returns the commit that a revision had when the hub was last asked; undefined if it never was. */
  commitOf(revision: string): Promise<string | undefined>;
  setCommit(revision: string, commit: string): Promise<void>;
  snapshot(commit: string): string;
  blob(etag: string): string;
  /** Links a file name of a snapshot to a blob. */
  link(etag: string, commit: string, path: string): Promise<void>;
}

const COMMIT = /^[0-9a-f]{40}$/;

/** Opens the folder of a repository in the cache. Creates nothing. */
export async function hubCache(cacheDir: string, id: string): Promise<HubCache> {
  const { dirname, join, relative } = await import('node:path');
  const { mkdir, readFile, rename, symlink } = await import('node:fs/promises');
  const { writeFileAtomic } = await import('../files/write-file-atomic.js');
  const folder = join(cacheDir, `models--${id.replaceAll('/', '--')}`);
  const blob = (etag: string) => join(folder, 'blobs', etag);
  const snapshot = (commit: string) => join(folder, 'snapshots', commit);
  const reference = (revision: string) => join(folder, 'refs', ...revision.split('/'));
  return {
    folder,
    blob,
    snapshot,
    commitOf: async (revision) => {
      if (COMMIT.test(revision)) return revision;
      return readFile(reference(revision), 'utf8').then(
        (text) => text.trim(),
        () => undefined,
      );
    },
    setCommit: async (revision, commit) => {
      if (revision !== commit) await writeFileAtomic(reference(revision), commit);
    },
    link: async (etag, commit, path) => {
      const name = join(snapshot(commit), path);
      await mkdir(dirname(name), { recursive: true });
      // The link is relative, so that the cache can be moved.
      await symlink(relative(dirname(name), blob(etag)), name).catch(async (error: unknown) => {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') return; // another process has linked it
        await rename(blob(etag), name); // no symbolic links here (Windows without developer mode)
      });
    },
  };
}
