import { syncFile } from './sync-file.js';

// Errors where the platform or file system cannot flush a folder: on Windows, on some network file systems.
const unsupportedCodes = ['EACCES', 'EBADF', 'EINVAL', 'EISDIR', 'ENOSYS', 'ENOTSUP', 'EPERM'];

/**
 * Flushes a folder's entries to the disk, which flushing its files does not do: files created, renamed or removed
 * before the call stay so after a power failure. Does nothing where folders cannot be flushed.
 * @throws if there is no such folder, or the disk fails
 */
export async function syncFolder(path: string): Promise<void> {
  const { open } = await import('node:fs/promises');
  try {
    const folder = await open(path, 'r');
    await syncFile(folder).finally(() => folder.close());
  } catch (error) {
    if (!unsupportedCodes.includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}
