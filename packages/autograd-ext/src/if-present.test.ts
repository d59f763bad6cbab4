import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../fixtures/temporary-folder.js';
import { directory } from './weights/files/directory.js';
import { ifPresent } from './if-present.js';

const folder = temporaryFolder();
const failure = (code: string) => Promise.reject(Object.assign(new Error(code), { code }));

describe('ifPresent', () => {
  it('returns the result, and undefined where there is no such file', async () => {
    await writeFile(join(folder, 'file'), 'text');
    expect(await ifPresent(readFile(join(folder, 'file'), 'utf8'))).toBe('text');
    for (const absent of ['none', 'file/inside', 'x'.repeat(5000), 'a\0b'])
      expect(await ifPresent(stat(`${folder}/${absent}`))).toBeUndefined();
  });

  it.each(['EIO', 'EACCES', 'ESTALE', 'ENOSPC', 'EMFILE', 'ELOOP'])('throws %s', async (code) => {
    await expect(ifPresent(failure(code))).rejects.toThrow(code);
  });
});

it('a folder lists no files where it does not exist', async () => {
  expect(await directory(join(folder, 'none')).list()).toEqual([]);
});
