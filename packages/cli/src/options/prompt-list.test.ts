import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { random } from '@alignprop/autograd-ext';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import type { ColumnOptions, PromptList, ReadPrompts } from './prompt-columns.js';
import { joinPrompts, promptDrawer, readPrompts } from './prompt-list.js';

const folder = temporaryFolder();

function read(name: string, text: string, options?: ColumnOptions): Promise<ReadPrompts> {
  writeFileSync(join(folder, name), text);
  return readPrompts(join(folder, name), '--prompts', options);
}

const two = ['a red apple', 'two cats'];
const ids = [{ id: '1' }, { id: '2' }];

describe('readPrompts', () => {
  it.each<[what: string, name: string, text: string, list: PromptList]>([
    ['lines that end with LF', 'a.txt', 'a red apple\ntwo cats\n', { prompts: two }],
    ['lines that end with CRLF', 'a.txt', 'a red apple\r\ntwo cats\r\n', { prompts: two }],
    ['lines that end with CR', 'a.txt', 'a red apple\rtwo cats\r', { prompts: two }],
    ['lines that end with U+2028', 'a.txt', 'a red apple\u2028two cats', { prompts: two }],
    ['lines of a file without ending', 'prompts', ' a red apple \n\n\ttwo cats', { prompts: two }],
    ['commas and quotes in .txt', 'a.txt', '"red", apple', { prompts: ['"red", apple'] }],
    [
      'a table with commas, quotes and line ends in fields',
      'a.csv',
      'id,prompt\n1,"a red apple, ""big""\non a table"\n\n2,two cats\n',
      { prompts: ['a red apple, "big"\non a table', 'two cats'], promptMetadata: ids },
    ],
    ['a table with CRLF', 'a.csv', 'id,text\r\n1,a red apple\r\n2,two cats', { prompts: two, promptMetadata: ids }],
    ['a table with CR', 'a.csv', 'caption,id\ra red apple,1\rtwo cats,2\r', { prompts: two, promptMetadata: ids }],
    [
      'a table with semicolons, as Excel writes it in Europe',
      'a.csv',
      '"id";"prompt"\n1;"a red apple"\n2;two cats',
      { prompts: two, promptMetadata: ids },
    ],
    [
      'a table with tabs, and names in capitals',
      'a.tsv',
      'Prompt\tid\na red apple\t1\ntwo cats\t2\n',
      { prompts: two, promptMetadata: ids },
    ],
    [
      'a table with the index that pandas writes',
      'a.csv',
      ',prompt\n0,a red apple\n1,two cats',
      { prompts: two, promptMetadata: [{ column_1: '0' }, { column_1: '1' }] },
    ],
    ['a line that starts with # in a table', 'a.csv', 'prompt\n#art', { prompts: ['#art'], promptMetadata: [{}] }],
    [
      'a column with the name of a property of objects',
      'a.csv',
      'prompt,__proto__\na red apple,1',
      { prompts: ['a red apple'], promptMetadata: [JSON.parse('{"__proto__": "1"}') as object as never] },
    ],
    [
      'JSON lines with columns of their own',
      'a.jsonl',
      '{"prompt": "a red apple", "tag": "color", "include": [{"class": "apple"}]}\r\n\r\n{"prompt": "two cats"}\r\n',
      { prompts: two, promptMetadata: [{ tag: 'color', include: [{ class: 'apple' }] }, {}] },
    ],
    ['JSON lines of texts, with U+2028', 'a.ndjson', '"a\u2028b"\n"two cats"', { prompts: ['a\u2028b', 'two cats'] }],
    [
      'a JSON array of objects',
      'a.json',
      '[{"id": "1", "text": "a red apple"}, {"id": "2", "text": "two cats"}]',
      { prompts: two, promptMetadata: ids },
    ],
    ['a JSON array of texts, with a comment', 'a.json', '["a red apple", // one\n"two cats",]', { prompts: two }],
    ['JSON lines by the name .json', 'a.json', '"a red apple"\n"two cats"\n', { prompts: two }],
    [
      'negative prompts and weights',
      'a.jsonl',
      '{"prompt": "a red apple", "negative_prompt": "blurry", "weight": 2}\n' +
        '{"prompt": "two cats", "negative_prompt": null, "weight": "0.5"}',
      { prompts: two, negativePrompts: ['blurry', undefined], weights: [2, 0.5], promptMetadata: [{}, {}] },
    ],
  ])('reads %s', async (_, name, text, list) => expect((await read(name, text)).list).toEqual(list));

  it('takes the columns that flags name, and keeps a column with none as metadata', async () => {
    const text = 'Title,prompt,bad,weight\na red apple,x,blurry,9\ntwo cats,y,,1';
    const options = { promptColumn: 'title', negativeColumn: 'bad', weightColumn: 'none' };
    expect(await read('a.csv', text, options)).toEqual({
      list: {
        prompts: two,
        negativePrompts: ['blurry', undefined],
        promptMetadata: [
          { prompt: 'x', weight: '9' },
          { prompt: 'y', weight: '1' },
        ],
      },
      remarks: [
        `'${join(folder, 'a.csv')}': 2 prompts in column 'Title'; negative prompts in 'bad'; ` +
          `metadata for the reward in 'prompt', 'weight'.`,
      ],
      warnings: [],
    });
  });

  it('says how many comments were skipped, and how many prompts are empty', async () => {
    const comments = await read('a.txt', '# fruit\na red apple\n#end');
    expect(comments).toEqual({
      list: { prompts: ['a red apple'] },
      remarks: [`'${join(folder, 'a.txt')}': skipped 2 lines that start with #.`],
      warnings: [],
    });
    const { list, warnings } = await read('a.csv', 'prompt,id\n,1\ntwo cats,2\n" ",3');
    expect(list).toEqual({ prompts: ['two cats'], promptMetadata: [{ id: '2' }] });
    expect(warnings).toEqual([
      `--prompts: '${join(folder, 'a.csv')}' has 2 of 3 prompts empty, which are left out; the first in line 2.`,
    ]);
  });

  it.each([
    ['a header', 'id,prompt,category\n1,a cat,animals', 'line 1. For columns give it the ending .csv or .tsv.'],
    ["kohya's options", 'a cat\na dog --n blurry --w 512', 'has --n in line 2, which is part of the prompt here.'],
  ])('warns of %s in a .txt file', async (_, text, warning) => {
    const { list, warnings } = await read('a.txt', text);
    expect(list.prompts).toHaveLength(2);
    expect(warnings).toEqual([expect.stringContaining(warning)]);
  });

  it('does not take prompts with commas, dashes and braces for something else', async () => {
    const { warnings } = await read('a.txt', 'text, red, caption\na cat -- big\n{a cat}');
    expect(warnings).toEqual([]);
  });

  it.each<[what: string, name: string, text: string, message: RegExp, options?: ColumnOptions]>([
    ['an empty file', 'a.txt', '', /a\.txt' has no prompt/],
    ['a file of comments', 'a.txt', '# a\n\n', /a\.txt' has no prompt/],
    ['an empty table', 'a.csv', '', /a\.csv' has no prompt/],
    ['a header alone', 'a.csv', 'prompt,id\n', /a\.csv' has no prompt/],
    ['an empty array', 'a.json', '[]', /a\.json' has no prompt/],
    ['an empty .json', 'a.json', ' \n', /a\.json' has no prompt/],
    ['a table without a header', 'a.csv', '1,a red apple\n2,two cats', /no column prompt.*columns are 1, a red apple/],
    [
      'a column that is not there',
      'a.csv',
      'id,prompt\n1,a',
      /has no column 'title'; .* id, prompt/,
      { promptColumn: 'title' },
    ],
    [
      'no negative column',
      'a.csv',
      'id,prompt\n1,a',
      /has no column 'bad'.*--negative-column/,
      { negativeColumn: 'bad' },
    ],
    ['a column given twice', 'a.csv', 'prompt,id,id\na,1,2', /has the column 'id' twice/],
    ['a row with too many fields', 'a.csv', 'id,prompt\n1,"a\nb"\n2,a, b', /has 3 fields in line 4, expected 2/],
    ['an open quote', 'a.csv', 'id,prompt\n1,a\n2,"b\n3,c', /has an open double quote in line 3/],
    ['text after a quote', 'a.csv', 'id,prompt\n1,"a" b', /has text after a closing quote in line 2/],
    ['a line that is not JSON', 'a.jsonl', '"a"\n\na cat', /line 3 is not JSON: "a cat"/],
    ['JSON lines in a .txt', 'a.txt', '# a\n{"prompt": "a"}', /has a JSON object in line 2, .* ending \.jsonl/],
    ['a number as a prompt', 'a.jsonl', '"a"\n7', /has 7 in line 2, expected a text or an object/],
    ['a list as a prompt', 'a.jsonl', '["a", "b"]', /has \["a","b"\] in line 1, expected a text or an object/],
    ['a row without a prompt', 'a.jsonl', '{"prompt": "a"}\n{"text": "b"}', /has nothing as 'prompt' in line 2/],
    ['a prompt that is no text', 'a.json', '[{"prompt": "a"}, {"prompt": 7}]', /has 7 as 'prompt' in entry 2/],
    ['an object in place of an array', 'a.json', '{\n"data": ["a"]}', /has an object with data, expected an array/],
    ['JSON with a fault', 'a.json', '[\n"a"\n"b"]', /is not JSON: line 3, column 1: comma expected/],
    ['a weight below 0', 'a.csv', 'prompt,weight\na,-1', /has "-1" as 'weight' in line 2.*--weight-column none/],
    ['weights of 0 alone', 'a.csv', 'prompt,weight\na,0', /has no weight above 0/],
    ['a binary format', 'a.parquet', '', /got '.*a\.parquet', expected a \.txt, \.jsonl, \.json, \.csv or \.tsv/],
    ['a compressed file', 'a.csv.gz', '', /got '.*a\.csv\.gz', expected/],
  ])('refuses %s', async (_, name, text, message, options) => {
    const error: unknown = await read(name, text, options).catch((refusal: unknown) => refusal);
    expect((error as Error).message).toMatch(/^--prompts: [^\n]*\.$/);
    expect((error as Error).message).toMatch(message);
  });

  it('reads a list of a configuration file, and refuses what is none', async () => {
    expect((await readPrompts(['a red apple', { prompt: 'two cats', id: 2 }], 'prompts')).list).toEqual({
      prompts: two,
      promptMetadata: [{}, { id: 2 }],
    });
    await expect(readPrompts([], 'prompts')).rejects.toThrow('prompts: the list has no prompt');
    await expect(readPrompts(7 as never, 'prompts')).rejects.toThrow('prompts: got 7, expected a path, or a list');
  });
});

describe('joinPrompts', () => {
  it('fills in what only one of two lists has', () => {
    const weighted = { prompts: ['b'], weights: [3], promptMetadata: [{ id: 1 }], negativePrompts: ['c'] };
    expect(joinPrompts({ prompts: ['a'] }, weighted)).toEqual({
      prompts: ['a', 'b'],
      weights: [1, 3],
      promptMetadata: [{}, { id: 1 }],
      negativePrompts: [undefined, 'c'],
    });
    expect(joinPrompts({ prompts: ['a'] }, { prompts: ['b'] })).toEqual({ prompts: ['a', 'b'] });
  });
});

describe('promptDrawer', () => {
  const counts = (list: PromptList, draws: number): Record<string, number> => {
    const [draw, generator] = [promptDrawer(list), random(3)];
    const drawn = Array.from({ length: draws }, () => draw(generator)[0]);
    return Object.fromEntries(list.prompts.map((prompt) => [prompt, drawn.filter((text) => text === prompt).length]));
  };

  it('draws prompts equally often, and with weights in proportion to them', () => {
    const prompts = ['a', 'b', 'c', 'd'];
    for (const count of Object.values(counts({ prompts }, 4000))) expect(Math.abs(count - 1000)).toBeLessThan(120);
    const weighted = counts({ prompts, weights: [0, 3, 1, 0] }, 4000);
    expect(weighted).toMatchObject({ a: 0, d: 0 });
    expect(Math.abs(weighted.b! - 3000)).toBeLessThan(120);
  });

  it('draws the metadata and the negative prompt with the prompt', () => {
    const draw = promptDrawer({ prompts: ['a'], promptMetadata: [{ id: 1 }], negativePrompts: ['b'] });
    expect(draw(random(1))).toEqual(['a', { id: 1 }, 'b']);
  });
});
