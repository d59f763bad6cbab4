// What platforms and file systems say that cannot flush a folder by itself: Windows, some network file systems.
const cannotFlush = ['EACCES', 'EBADF', 'EINVAL', 'EISDIR', 'ENOSYS', 'ENOTSUP', 'EPERM'];

/**
 * Flushes the names in a folder to the disk, which flushing its files does not: what was made, renamed or removed there
 * before is then so after a loss of power, too. Does nothing where folders cannot be flushed.
 * @throws if there is no such folder, or the disk fails
 */
export async function syncFolder(path: string): Promise<void> {
  const { open } = await import('node:fs/promises');
  try {
    const folder = await open(path, 'r');
    await folder.sync().finally(() => folder.close());
  } catch (error) {
    if (!cannotFlush.includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}
