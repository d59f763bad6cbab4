import { directory, memory, readJson, readText } from '@alignprop/autograd-ext/weights';
import { beforeAll, describe, expect, it } from 'vitest';
import { fixtureJson, fixturePath } from '../../../../fixtures/index.js';
import { CLIPTokenizer } from './tokenizer.js';

interface Case {
  prompt: string;
  n_tokens: number;
  ids: number[];
  ids_sd2_pad: number[];
  ids_open_clip_padded: number[];
  differs?: Record<string, number[]>;
}
const cases = fixtureJson<Case[]>('tokenizer/cases.json');
const folder = fixturePath('sd15-tiny/model/tokenizer');
const source = directory(folder);

const same = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  a.length === b.length && Array.from(a).every((id, i) => id === b[i]);
const ids = (tokenizer: CLIPTokenizer, prompt: string, options = {}) => [
  ...tokenizer.encode([prompt], options).inputIds,
];

/** The expected ids: where implementations of the tokenizer differ, those of the implementation that matches. */
function expected(actual: number[], { ids, differs = {} }: Case): number[] {
  return Object.values(differs).find((variant) => same(variant, actual)) ?? ids;
}

/** Replaces the padding after the end token. */
const repad = (variant: number[], pad: number) => {
  const end = variant.findIndex((_, i) => i > 0 && variant.slice(i).every((next) => next === 49407));
  return variant.map((id, i) => (i > end ? pad : id));
};

describe('CLIPTokenizer with the vocabulary of CLIP', () => {
  let tokenizer: CLIPTokenizer;
  beforeAll(async () => {
    tokenizer = await CLIPTokenizer.fromPretrained(folder);
  });

  it('is tested with all 63 recorded prompts', () => expect(cases).toHaveLength(63));

  it.each(cases.map((recorded) => [recorded.prompt.slice(0, 40), recorded] as const))('encodes %j', (_, recorded) => {
    const actual = ids(tokenizer, recorded.prompt);
    expect(actual).toEqual(expected(actual, recorded));
  });

  it('encodes a batch row by row and returns the truncated text', () => {
    const long = `${'cat '.repeat(75)}dogs and 猫!`;
    const { inputIds, shape, truncated } = tokenizer.encode(['a cat', long]);
    expect(shape).toEqual([2, 77]);
    expect([...inputIds.subarray(0, 5)]).toEqual([49406, 320, 2368, 49407, 49407]);
    expect([...inputIds.subarray(77)]).toEqual([49406, ...new Array(75).fill(2368), 49407]);
    expect(truncated).toEqual(['', 'dogs and 猫 !']);
  });

  it('encodes a word of 50,000 letters in the time of as many letters in short words', () => {
    const seconds = (text: string) => {
      const start = performance.now();
      expect(tokenizer.encode([text]).inputIds).toHaveLength(77);
      return (performance.now() - start) / 1000;
    };
    const letters = 'thequickbrownfox'.repeat(3125);
    const [short, long] = [seconds(letters.replaceAll('fox', 'fox ')), seconds(letters)];
    expect(long).toBeLessThan(10 * short + 0.5);
  });

  it('lower-cases a final Σ to σ', () => {
    expect(ids(tokenizer, 'ΛΟΓΟΣ')).toEqual(ids(tokenizer, 'λογοσ'));
    expect(ids(tokenizer, 'ΛΟΓΟΣ')).not.toEqual(ids(tokenizer, 'λογος'));
  });

  it('encodes prompts to as many tokens as transformers', () => {
    for (const { prompt, n_tokens, differs } of cases) {
      if (differs) continue;
      const actual = ids(tokenizer, prompt, { maxLength: 512, padTokenId: -1 }).filter((id) => id !== -1);
      expect(actual, prompt).toHaveLength(n_tokens);
    }
  });

  it('pads with 0, as open_clip does, with padTokenId 0', () => {
    for (const { prompt, n_tokens: length, ids: reference, ids_open_clip_padded: padded, differs } of cases) {
      const actual = ids(tokenizer, prompt, { padTokenId: 0 });
      const others = differs
        ? [
            reference.map((id, i) => (i < length ? id : 0)),
            ...Object.values(differs).map((variant) => repad(variant, 0)),
          ]
        : [];
      const variants = [padded, ...others];
      expect(actual, prompt).toEqual(variants.find((variant) => same(variant, actual)) ?? padded);
    }
  });

  it('rejects an empty list, prompts that are not strings, and a maxLength below 2', () => {
    expect(() => tokenizer.encode([])).toThrow(/prompts got an empty list/);
    expect(() => tokenizer.encode(['a', 3 as never])).toThrow(/prompt 1 got 3, expected a string/);
    expect(() => tokenizer.encode(['a'], { maxLength: 1 })).toThrow(/maxLength got 1/);
  });
});

describe('CLIPTokenizer.fromPretrained', () => {
  let files: Record<string, string>;
  beforeAll(async () => {
    const names = ['vocab.json', 'merges.txt', 'tokenizer_config.json', 'special_tokens_map.json'];
    files = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await readText(source, name)])));
  });
  const load = (changed: Record<string, string | undefined>) =>
    CLIPTokenizer.fromPretrained(
      memory(
        Object.fromEntries(
          Object.entries({ ...files, ...changed }).filter((entry): entry is [string, string] => entry[1] !== undefined),
        ),
      ),
    );

  it("reads SD 2's pad token '!', which is then a special token in prompts as well", async () => {
    const map = JSON.stringify({
      bos_token: '<|startoftext|>',
      eos_token: '<|endoftext|>',
      unk_token: '<|endoftext|>',
      pad_token: '!',
    });
    const tokenizer = await load({
      'special_tokens_map.json': map,
      'tokenizer_config.json': '{"model_max_length": 77, "pad_token": "<|endoftext|>"}',
    });
    for (const { prompt, ids_sd2_pad: padded, differs } of cases) {
      const actual = ids(tokenizer, prompt);
      const variants = [padded, ...Object.values(differs ?? {}).map((variant) => repad(variant, 0))];
      expect(actual, prompt).toEqual(variants.find((variant) => same(variant, actual)) ?? padded);
    }
  });

  it('reads special tokens that are objects and listed in the config, as in SD 2', async () => {
    const tokenizer = await CLIPTokenizer.fromPretrained(fixturePath('sd2-tiny/model'), { subfolder: 'tokenizer' });
    expect(tokenizer).toMatchObject({ bosTokenId: 1998, eosTokenId: 1999, padTokenId: 0, modelMaxLength: 77 });
    expect(ids(tokenizer, '!').slice(0, 5)).toEqual([1998, 0, 1999, 0, 0]);
  });

  it('reads tokenizer.json if there is no vocab.json', async () => {
    const [vocab, merges] = [JSON.parse(files['vocab.json']!), files['merges.txt']!.trim().split('\n').slice(1)];
    const json = JSON.stringify({ model: { vocab, merges: merges.map((pair) => pair.split(' ')) } });
    const tokenizer = await load({ 'tokenizer.json': json, 'vocab.json': undefined, 'merges.txt': undefined });
    expect(ids(tokenizer, 'a photo of a cat')).toEqual(cases.find(({ prompt }) => prompt === 'a photo of a cat')!.ids);
  });

  it('uses 77 tokens and the special tokens of CLIP by default', async () => {
    const bare = await load({ 'tokenizer_config.json': undefined, 'special_tokens_map.json': undefined });
    expect(bare).toMatchObject({ modelMaxLength: 77, bosTokenId: 49406, eosTokenId: 49407, padTokenId: 49407 });
    expect(
      await load({ 'tokenizer_config.json': '{"model_max_length": 1000000000000000019884624838656}' }),
    ).toMatchObject({ modelMaxLength: 77 });
  });

  it.each<[string, Record<string, string | undefined>, RegExp]>([
    [
      'no vocabulary',
      { 'vocab.json': undefined },
      /has no vocabulary, expected vocab.json with merges.txt, or tokenizer.json/,
    ],
    [
      'a vocabulary that is not a table',
      { 'vocab.json': '[1, 2]'.replace('1', '"a"') },
      /'vocab.json' in .* got \["a",2\], expected an object/,
    ],
    ['a malformed vocabulary', { 'vocab.json': '{"a": 1' }, /'vocab.json' .* is not JSON/],
    [
      'a malformed list of merges',
      { 'merges.txt': '#version: 0.2\ni n\n<html>\n' },
      /merges.txt .* got the line "<html>"/,
    ],
    [
      'an added token without id',
      { 'tokenizer_config.json': '{}', 'added_tokens.json': '{"<a>": "49408"}' },
      /added_tokens.json .* got "49408" for "<a>", expected an integer id/,
    ],
    [
      'merges of another vocabulary',
      { 'merges.txt': '#version: 0.2\nthe zqzqzq\n' },
      /merge "the zqzqzq" of .* got the token "zqzqzq", expected tokens of the vocabulary/,
    ],
    [
      'a model_max_length that is not a number',
      { 'tokenizer_config.json': '{"model_max_length": "77"}' },
      /model_max_length .* got "77"/,
    ],
    [
      'settings that are not an object',
      { 'tokenizer_config.json': '[]' },
      /tokenizer_config.json' .* expected an object/,
    ],
  ])('rejects %s', async (_, changed, message) => {
    await expect(load(changed)).rejects.toThrow(message);
  });
});

describe('the tokenizer of tiny-emoji', () => {
  it('encodes prompts to 24 tokens', async () => {
    const folder = directory(fixturePath('../packages/cli/models/tiny-emoji'));
    const tokenizer = await CLIPTokenizer.fromPretrained(folder, { subfolder: 'tokenizer' });
    const vocab = await readJson<Record<string, number>>(folder, 'tokenizer/vocab.json');
    const [start, end] = [vocab['<|startoftext|>']!, vocab['<|endoftext|>']!];
    const { inputIds, shape, truncated } = tokenizer.encode(['crab', 'q'.repeat(60)]);
    expect(shape).toEqual([2, 24]);
    expect([inputIds[0], inputIds[23], inputIds[24], inputIds[47]]).toEqual([start, end, start, end]);
    expect(truncated[0]).toBe('');
    expect(truncated[1]).toMatch(/^q+$/);
  });
});
