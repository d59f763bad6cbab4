/**
 * Flushes an open file to the disk, by its number: the file handles of Yarn's Plug'n'Play have no `sync`.
 * @throws if the disk fails
 */
export async function syncFile({ fd }: { readonly fd: number }): Promise<void> {
  const [{ fsync }, { promisify }] = await Promise.all([import('node:fs'), import('node:util')]);
  await promisify(fsync)(fd);
}
