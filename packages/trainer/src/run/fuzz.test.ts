import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe } from 'vitest';
import { fuzz, fuzzedFile } from '../../../../fixtures/fuzz.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { parseAlignPropConfig } from '../config/config.js';
import { createManifest, manifestFile, readManifestFile } from './manifest.js';

const folder = join(temporaryFolder(), fuzzedFile);
const identity = { model: { name: 'org/name', sha256: '0'.repeat(64) } };
const manifest = createManifest('alignprop', parseAlignPropConfig({ seed: 1 }), { identity, versions: { node: '20' } });

describe("readers of a run's files", () => {
  fuzz({
    reader: 'manifests',
    seeds: [JSON.stringify(manifest)],
    read: async (bytes) => {
      await mkdir(folder, { recursive: true });
      await writeFile(join(folder, manifestFile), bytes);
      await readManifestFile(folder);
    },
  });
});
