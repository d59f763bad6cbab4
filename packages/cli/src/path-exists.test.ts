import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { temporaryFolder } from '../../../fixtures/temporary-folder.js';
import { pathExists } from './path-exists.js';

const folder = temporaryFolder();

it('a path exists, or it does not, or it cannot be told, which is an error', () => {
  writeFileSync(join(folder, 'file'), '');
  symlinkSync('loop', join(folder, 'loop'));
  expect(pathExists(join(folder, 'file'))).toBe(true);
  for (const absent of ['none', 'file/inside', 'x'.repeat(5000), 'a\0b'])
    expect(pathExists(`${folder}/${absent}`)).toBe(false);
  expect(() => pathExists(join(folder, 'loop'))).toThrow('ELOOP');
});
