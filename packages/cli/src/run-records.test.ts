import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../fixtures/temporary-folder.js';
import { readRecords } from './run-records.js';

const folder = temporaryFolder();

async function read(text: string) {
  writeFileSync(join(folder, 'metrics.jsonl'), text);
  return readRecords(join(folder, 'metrics.jsonl'));
}

describe('readRecords', () => {
  it('has NaN for values that are no numbers', async () => {
    const { records } = await read('{"global_step": 0, "loss": null, "kl": "high", "seconds": 1.5}\n');
    expect(records).toEqual([{ global_step: 0, loss: NaN, kl: NaN, seconds: 1.5 }]);
  });

  it('names damaged lines, and leaves out a last one that is still being written', async () => {
    const { records, damaged } = await read('{"a": 1}\n[2]\n\n3\n{"a": 4}\n{"a": 5');
    expect(records).toEqual([{ a: 1 }, { a: 4 }]);
    expect(damaged).toEqual([2, 3, 4]);
  });

  it('is empty where there is no file', async () => {
    expect(await readRecords(join(folder, 'none.jsonl'))).toEqual({ records: [], damaged: [] });
  });
});
