import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { decodePng } from '@alignprop/diffusion';
import { captureOutput } from '../../../../fixtures/capture-output.js';
import { fixturePath } from '../../../../fixtures/index.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { run } from '../program.js';

const printed = captureOutput();
const folder = temporaryFolder();
const path = (name: string): string => join(folder, name);

const model = ['--model', fixturePath('sd15-tiny/model')];
const settings = [...model, ...'--steps 2 --height 16 --width 16 --guidance-scale 3'.split(' ')];
const generate = (...args: readonly string[]): Promise<number> => run(['generate', ...settings, ...args]);
const image = (name: string) => decodePng(readFileSync(path(name)));

const table = 'caption,bad,seed,weight\na cat,blurry,40,1\n"a dog, sitting",,,2\n';

describe('alignprop generate --prompts', () => {
  it.each([
    ['lines.txt', 'a cat\n# none\na dog\n'],
    ['list.json', '["a cat", {"prompt": "a dog"}]'],
    ['lines.jsonl', '{"prompt": "a cat"}\n"a dog"\n'],
    ['table.tsv', 'text\tkind\na cat\tpet\na dog\tpet\n'],
  ])('reads %s, and draws each prompt as if it were alone, with seeds from --seed on', async (name, text) => {
    writeFileSync(path(name), text);
    expect(await generate('--prompts', path(name), '--seed', '7', '--quiet', '-o', path(`${name}.png`))).toBe(0);
    expect(await generate('a dog', '--seed', '8', '--quiet', '-o', path('dog.png'))).toBe(0);
    expect(image(`${name}-2.png`).data).toEqual(image('dog.png').data);
    expect([1, 2].map((i) => image(`${name}-${i}.png`).text.parameters)).toEqual([
      expect.stringMatching(/^a cat\n.*Seed: 7,/) as string,
      image('dog.png').text.parameters,
    ]);
  });

  it('takes negative prompts and seeds from columns, and writes them into the files with their prompts', async () => {
    writeFileSync(path('table.csv'), table);
    const columns = ['--prompts', path('table.csv'), '--negative-column', 'bad', '--negative-prompt', 'dark'];
    expect(await generate(...columns, '--num-images', '2', '-o', path('t.png'), '--json')).toBe(0);
    const events = printed.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(events.map(({ path: name, prompt }) => [name, prompt])).toEqual([
      [path('t-1.png'), 'a cat'],
      [path('t-2.png'), 'a cat'],
      [path('t-3.png'), 'a dog, sitting'],
      [path('t-4.png'), 'a dog, sitting'],
    ]);
    expect(image('t-2.png').text.parameters).toMatch(/^a cat\nNegative prompt: blurry\n.*Seed: 40,.*Batch pos: 1$/);
    expect(image('t-3.png').text.parameters).toMatch(/^a dog, sitting\nNegative prompt: dark\n/);
    expect(printed.stderr).toMatch(/2 prompts in column 'caption'; negative prompts in 'bad'/);
    expect(printed.stderr).toMatch(/warning: --prompts: the weights have no effect/);
    expect(await generate(...columns, '--seed', '3', '-o', path('s.png'), '--quiet')).toBe(0);
    expect(image('s-1.png').text.parameters).toContain('Seed: 3,');
  });

  it('numbers the files so that they sort, after the prompts of the command line', async () => {
    writeFileSync(path('nine.txt'), 'a cat\n'.repeat(9));
    expect(await generate('a fox', '--prompts', path('nine.txt'), '-o', path('n.png'), '--quiet')).toBe(0);
    const names = readdirSync(folder).filter((name) => name.startsWith('n-'));
    expect([names.length, names[0], names.at(-1)]).toEqual([10, 'n-01.png', 'n-10.png']);
    expect(image('n-01.png').text.parameters).toMatch(/^a fox\n/);
  });

  it.each([
    ['seed.csv', 'prompt,seed\na cat,x\n', [], /column 'seed' got "x" for 'a cat', expected an integer from 0/],
    ['none.txt', '\n', [], /none\.txt' has no prompt/],
    ['plain.txt', 'a cat\n', ['--prompt-column', 'a'], /--prompt-column: got 'a' for prompts without columns/],
  ])('refuses %s before it loads the model', async (name, text, args, message) => {
    writeFileSync(path(name), text);
    expect(await generate('--prompts', path(name), ...args)).toBe(2);
    expect(printed.stderr).toMatch(message);
    expect(printed.stderr).not.toContain('Loading');
  });
});
