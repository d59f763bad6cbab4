import { describe, expect, it } from 'vitest';
import { memory } from '@alignprop/autograd-ext/weights';
import { fixtureJson, fixturePath } from '../../../../fixtures/index.js';
import { BertTokenizer } from './bert-tokenizer.js';

const { cases, size } = fixtureJson<{ cases: { prompt: string; ids: number[]; length: number }[]; size: number }>(
  'reward-imagereward/tokens.json',
);
const load = () =>
  BertTokenizer.fromPretrained(fixturePath('reward-imagereward'), { additionalTokens: ['[DEC]', '[ENC]'] });

describe('BertTokenizer', () => {
  it("has as many tokens as transformers' BertTokenizer", async () => expect((await load()).size).toBe(size));

  it.each(cases)("returns transformers' ids for '$prompt'", async ({ prompt, ids, length }) => {
    const { inputIds, attentionMask, shape } = (await load()).encode([prompt], { maxLength: 35 });
    expect([...inputIds]).toEqual(ids);
    expect(attentionMask.reduce((sum, seen) => sum + seen, 0)).toBe(length);
    expect(shape).toEqual([1, 35]);
  });

  it('encodes several prompts row by row', async () => {
    const tokenizer = await load();
    const { inputIds, attentionMask, shape } = tokenizer.encode(
      cases.map(({ prompt }) => prompt),
      { maxLength: 35 },
    );
    expect(shape).toEqual([cases.length, 35]);
    expect([...inputIds]).toEqual(cases.flatMap(({ ids }) => ids));
    expect(attentionMask[35 * 2 + cases[2]!.length - 1]).toBe(1);
    expect(attentionMask[35 * 2 + cases[2]!.length]).toBe(0);
  });

  it('reads a vocabulary with Windows line ends', async () => {
    const source = memory({ 'vocab.txt': '[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n[MASK]\r\ncat\r\n' });
    const tokenizer = await BertTokenizer.fromPretrained(source);
    expect([...tokenizer.encode(['Cat dog'], { maxLength: 5 }).inputIds]).toEqual([2, 5, 1, 3, 0]);
  });

  it('rejects a vocabulary that is not BERT’s', async () => {
    await expect(BertTokenizer.fromPretrained(memory({ 'vocab.txt': 'a\nb\n[PAD]\n' }))).rejects.toThrow(
      '3 tokens without [UNK], [CLS], [SEP], [MASK]',
    );
  });
});
