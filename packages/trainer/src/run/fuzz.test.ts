import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe } from 'vitest';
import { fuzz, fuzzedFile } from '../../../../fixtures/fuzz.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { parseAlignPropConfig } from '../config/config.js';
import { readCheckpointManifest } from './checkpoints.js';
import { createManifest, manifestFile, readManifestFile } from './manifest.js';

const folder = join(temporaryFolder(), fuzzedFile);
const identity = { model: { name: 'org/name', sha256: '0'.repeat(64) } };
const manifest = createManifest('alignprop', parseAlignPropConfig({ seed: 1 }), { identity, versions: { node: '20' } });

const generators = { latents: { engine: [1, 2, 3], nextNormal: null } };
const state = {
  ...{ version: 1, global_step: 3, optimizer_step: 3, generators, other_ranks: [generators], manifest },
  ...{ reward: { count: 2 }, evaluation: { best: 0.5 }, weights: ['pytorch_lora_weights.safetensors'] },
};

describe("readers of a run's files", () => {
  fuzz({
    reader: 'states of checkpoints',
    seeds: [JSON.stringify(state)],
    read: async (bytes) => {
      await mkdir(folder, { recursive: true });
      await writeFile(join(folder, 'state.json'), bytes);
      await readCheckpointManifest(folder);
    },
  });
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
