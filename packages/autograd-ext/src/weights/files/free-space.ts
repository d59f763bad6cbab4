/**
 * Returns the bytes that this user can still write to the disk of a folder, which need not exist if its parent does;
 * undefined where the system does not tell. Quotas are not known.
 */
export async function freeSpace(folder: string): Promise<number | undefined> {
  const { statfs } = await import('node:fs/promises');
  const { dirname, resolve } = await import('node:path');
  for (const path of [folder, dirname(resolve(folder))]) {
    const disk = await statfs(path).catch(() => {}); // it is only asked for the words of a message, or ahead of time
    if (!disk?.blocks) continue; // 0 on file systems that do not count
    return disk.bsize * (process.getuid?.() === 0 ? disk.bfree : disk.bavail);
  }
  return undefined;
}

/** Says how many bytes are needed and how many are free in a folder: `3000 bytes; 2000 are free in /runs/a`. */
export async function describeSpace(bytes: number, folder: string): Promise<string> {
  const free = await freeSpace(folder);
  return `${bytes} bytes${free === undefined ? '' : `; ${free} are free in ${folder}`}`;
}
