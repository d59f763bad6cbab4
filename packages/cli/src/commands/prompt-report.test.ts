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

async function report(prompts: Parameters<typeof reportPrompts>[0], config = sampling): Promise<string[]> {
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
  it('warns once for each list of prompts that are too long: how many, the first, and what it loses', async () => {
    const lines = await report({
      training: read({ prompts: ['crab', long, long], negativePrompts: [undefined, long, 'red'] }),
      evaluation: read({ prompts: [long] }),
    });
    expect(lines).toHaveLength(3);
    expect(lines[0]).toMatch(
      /^warning: 2 of 3 training prompts are too long for the 24 tokens of the text encoder and cut\. .* 'owl frog/,
    );
    expect(lines[1]).toMatch(/^warning: 1 of 1 held-out prompts is too long/);
    expect(lines[2]).toMatch(/^warning: 1 of 2 negative prompts is too long/);
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
