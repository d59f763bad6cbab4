import { mkdtemp, open, rm, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { syncFile } from './sync-file.js';
import { writeFileAtomic } from './write-file-atomic.js';

let folder: string;
beforeAll(async () => (folder = await mkdtemp(join(tmpdir(), 'alignprop-sync-'))));
afterAll(() => rm(folder, { recursive: true }));

it('fails for a file that is closed', async () => {
  const file = await open(join(folder, 'file'), 'w');
  const { fd } = file;
  await syncFile(file);
  await file.close();
  await expect(syncFile({ fd })).rejects.toThrow('EBADF');
});

it("writes and flushes with file handles that have no 'sync', as those of Yarn's Plug'n'Play", async () => {
  const handle = await open(join(folder, 'any'), 'w');
  const sync = vi.spyOn(Object.getPrototypeOf(handle) as FileHandle, 'sync').mockImplementation(() => {
    throw new Error('Method not implemented.');
  });
  await handle.close();
  await writeFileAtomic(join(folder, 'text'), 'text');
  sync.mockRestore();
});
