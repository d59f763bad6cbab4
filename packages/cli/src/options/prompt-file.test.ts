import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { startMockHub, type MockHub } from '../../../../fixtures/mock-hub.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { readPrompts } from './prompt-list.js';

const folder = temporaryFolder();
const cache = temporaryFolder();
let hub: MockHub;
beforeAll(async () => {
  mkdirSync(join(folder, 'data'));
  writeFileSync(join(folder, 'data', 'train.jsonl'), '{"prompt": "a red apple", "id": 1}\n');
  hub = await startMockHub({ 'org/name': folder });
});
afterAll(() => hub.close());
beforeEach(() => {
  vi.stubEnv('HF_ENDPOINT', hub.endpoint);
  vi.stubEnv('HF_HUB_CACHE', cache);
});
afterEach(() => vi.unstubAllEnvs());

describe('a data set of the hub', () => {
  it.each(['datasets/org/name/data/train.jsonl', 'hf://datasets/org/name@v1/data/train.jsonl'])(
    'is read from %s',
    async (path) => {
      const { list } = await readPrompts(path, '--prompts');
      expect(list).toEqual({ prompts: ['a red apple'], promptMetadata: [{ id: 1 }] });
      const revision = path.includes('@') ? 'v1' : 'main';
      expect(hub.requests).toContain(`GET /api/datasets/org/name/revision/${revision}`);
    },
  );

  it('is refused by its path where it is not there', async () => {
    await expect(readPrompts('datasets/org/name/none.jsonl', '--prompts')).rejects.toThrow(
      "--prompts: cannot read 'datasets/org/name/none.jsonl': hub: 'none.jsonl' of 'org/name' does not exist",
    );
    await expect(readPrompts('datasets/none.jsonl', '--prompts')).rejects.toThrow('ENOENT');
  });
});
