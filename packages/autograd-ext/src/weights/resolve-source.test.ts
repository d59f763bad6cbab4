import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { resolveSource } from './resolve-source.js';

const folder = temporaryFolder();

describe('a file in place of a model folder', () => {
  it.each(['dreamshaper_8.safetensors', 'v1-5.ckpt', 'model.pt'])(
    'is named as a single-file checkpoint: %s',
    (name) => {
      const path = join(folder, name);
      writeFileSync(path, '');
      return expect(resolveSource(path)).rejects.toThrow(
        new RegExp(`got the file '.*${name}', .* A checkpoint in a single file.*fromSingleFile\\('.*${name}'`),
      );
    },
  );

  it('is taken for a mistake where it is no file of weights', async () => {
    const path = join(folder, 'model_index.json');
    writeFileSync(path, '{}');
    await expect(resolveSource(path)).rejects.toThrow(/expected a folder\. Pass the folder that holds it\./);
  });
});
