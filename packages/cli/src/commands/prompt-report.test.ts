import { describe, expect, it } from 'vitest';
import { CLIPTokenizer } from '@alignprop/diffusion';
import { embeddedModel } from '../embedded-model.js';
import type { PromptList } from '../options/prompt-columns.js';
import type { Output } from '../terminal/output.js';
import { reportPrompts } from './prompt-report.js';

const long = `owl ${'frog '.repeat(100)}end`;
const sampling = { sample_guidance_scale: 5, negative_prompts: null };
const read = (list: PromptList, said: { remarks?: string[]; warnings?: string[] } = {}) => ({
  list,
  remarks: [],
  warnings: [],
  ...said,
});

async function report(
  prompts: Parameters<typeof reportPrompts>[0],
  config: Parameters<typeof reportPrompts>[1] = sampling,
): Promise<string[]> {
  const lines: string[] = [];
  const output = {
    info: (text: string) => lines.push(text),
    warn: (text: string) => lines.push(`warning: ${text}`),
  } as unknown as Output;
  const tokenizer = await CLIPTokenizer.fromPretrained(`${embeddedModel.path}/tokenizer`);
  reportPrompts(prompts, config, tokenizer, output);
  return lines;
}

describe('reportPrompts', () => {
  it('warns once for each list of prompts that are too long: how many, and what the first of them lose', async () => {
    const lines = await report({
      training: read({ prompts: ['crab', long, long], negativePrompts: [undefined, long, 'red'] }),
      evaluation: read({ prompts: [long] }),
    });
    expect(lines).toHaveLength(3);
    expect(lines[0]).toMatch(
      /^warning: 2 of 3 training prompts are too long .* and cut\. Left out: 'frog .*… ?' of 'owl frog/,
    );
    expect(lines[1]).toMatch(/^warning: 1 of 1 held-out prompts is too long/);
    expect(lines[2]).toMatch(/^warning: 1 of 2 negative prompts is too long/);
  });

  it('names each prompt once, and three at most', async () => {
    const prompts = [1, 1, 2, 3, 4, 5].map((i) => `${'owl '.repeat(30)}${i}`);
    const [line] = await report({ training: read({ prompts }) });
    expect(line).toMatch(/^warning: 6 of 6 training prompts/);
    expect(line!.match(/' of 'owl/g)).toHaveLength(3);
    expect(line).toContain('and the ends of 2 more. --long-prompts encodes');
  });

  it('does not warn of long prompts that are encoded whole', async () => {
    expect(await report({ training: read({ prompts: [long] }) }, { ...sampling, long_prompts: true })).toEqual([]);
  });

  it('passes on what was said of the files, and says nothing of prompts that fit', async () => {
    const training = read({ prompts: ['crab'] }, { remarks: ['columns'], warnings: ['empty'] });
    expect(await report({ training })).toEqual(['columns', 'warning: empty']);
  });

  it('warns of negative prompts that have no effect without guidance, and not of their length', async () => {
    const training = read({ prompts: ['crab'], negativePrompts: [long] });
    expect(await report({ training }, { ...sampling, sample_guidance_scale: 1 })).toEqual([
      'warning: the column of negative prompts has no effect without guidance (--sample-guidance-scale above 1).',
    ]);
  });
});
