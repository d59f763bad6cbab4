import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { readPromptOptions } from './prompt-options.js';

const folder = temporaryFolder();
const table = join(folder, 'a.csv');
writeFileSync(table, 'caption,weight,id\na red apple,2,7\n');
const lines = join(folder, 'a.txt');
writeFileSync(lines, 'two cats\n');

describe('readPromptOptions', () => {
  it('joins single prompts with those of a file, and takes the defaults if there are neither', async () => {
    const { training } = await readPromptOptions({ prompt: ['a cat'], prompts: table }, ['default']);
    expect(training.list).toEqual({
      prompts: ['a cat', 'a red apple'],
      weights: [1, 2],
      promptMetadata: [{}, { id: '7' }],
    });
    const { training: single, evaluation } = await readPromptOptions({ prompt: 'a cat' }, ['default']);
    expect([single.list, evaluation]).toEqual([{ prompts: ['a cat'] }, undefined]);
    expect((await readPromptOptions({}, ['default'])).training.list).toEqual({ prompts: ['default'] });
  });

  it('reads held-out prompts with the same columns, and says that their weights have no effect', async () => {
    const options = { prompts: lines, evalPrompts: table, promptColumn: 'caption' };
    const { training, evaluation } = await readPromptOptions(options, []);
    expect(training.list).toEqual({ prompts: ['two cats'] });
    expect(evaluation?.list).toMatchObject({ prompts: ['a red apple'], promptMetadata: [{ id: '7' }] });
    expect(evaluation?.warnings).toEqual([
      '--eval-prompts: the weights have no effect, since each prompt is evaluated.',
    ]);
  });

  it.each([
    [{ prompts: lines, promptColumn: 'caption' }, "--prompt-column: got 'caption' for prompts without columns"],
    [{ weightColumn: 'w' }, "--weight-column: got 'w' for prompts without columns"],
    [{ prompt: ['a', 7] as never }, '--prompt: got 7, expected a text or a list of texts'],
    [{ evalPrompts: [{ caption: 7 }] }, "--eval-prompts: the list has 7 as 'caption' in entry 1, expected a text"],
  ])('refuses %j', async (options, message) => {
    await expect(readPromptOptions(options, ['default'])).rejects.toThrow(message);
  });
});
