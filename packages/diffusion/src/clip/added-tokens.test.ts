import { memory } from '@alignprop/autograd-ext/weights';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { fixtureJson, fixturePath } from '../../../../fixtures/index.js';
import { CLIPTokenizer } from './tokenizer.js';

interface Case {
  name: string;
  files: Record<string, object>;
  pad: number;
  ids: number[][];
}
const { prompts, cases } = fixtureJson<{ prompts: string[]; cases: Case[] }>('tokenizer-added/cases.json');
const text = (name: string) => readFileSync(fixturePath(`sd2-tiny/model/tokenizer/${name}`), 'utf8');

/** Opens a tokenizer with the vocabulary of a small model; `tokenizer.json`, where there is one, has it too. */
function open(files: Record<string, object>): Promise<CLIPTokenizer> {
  const vocabulary = { 'vocab.json': text('vocab.json'), 'merges.txt': text('merges.txt') };
  const merges = vocabulary['merges.txt'].trim().split('\n').slice(1);
  const model = { vocab: JSON.parse(vocabulary['vocab.json']), merges: merges.map((pair) => pair.split(' ')) };
  const written = Object.entries(files).map(([name, content]) => [
    name,
    JSON.stringify(name === 'tokenizer.json' ? { ...content, model } : content),
  ]);
  return CLIPTokenizer.fromPretrained(
    memory({ ...('tokenizer.json' in files ? {} : vocabulary), ...Object.fromEntries(written) }),
  );
}

/** The ids of a prompt without start, end and padding. */
function idsOf(tokenizer: CLIPTokenizer, prompt: string): number[] {
  const ids = [...tokenizer.encode([prompt], { maxLength: 1024, padTokenId: -1 }).inputIds];
  return ids.slice(1, ids.indexOf(-1) - 1);
}

describe.each(cases)("a tokenizer's folder with $name", ({ files, pad, ids }) => {
  it('has the ids of transformers', async () => {
    const tokenizer = await open(files);
    expect(tokenizer.padTokenId).toBe(pad);
    for (const [i, prompt] of prompts.entries()) expect(idsOf(tokenizer, prompt), prompt).toEqual(ids[i]);
  });
});
