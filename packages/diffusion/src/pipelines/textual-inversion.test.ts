import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { slice, tensor1d, tensor2d, type Tensor } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { flatten, TfjsEngine, useBackend, type Engine, type StoredTensor } from '@alignprop/autograd-ext';
import { encodeSafetensors, memory } from '@alignprop/autograd-ext/weights';
import { expectClose, fixtureJson, fixturePath, fixtureTensors } from '../../../../fixtures/index.js';
import { engineNames, startEngine } from '../../../../fixtures/engines.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { StableDiffusionPipeline } from './stable-diffusion.js';

interface Case {
  file: string;
  token: string | null;
  prompts: string[];
  ids: number[][];
}
const cases = fixtureJson<Case[]>('textual-inversion/case.json');
const path = (name: string) => fixturePath(`textual-inversion/${name}`);
const bytes = (name: string) => new Uint8Array(readFileSync(path(name)));
const open = (engine: Engine = new TfjsEngine()) =>
  StableDiffusionPipeline.fromPretrained(fixturePath('sd2-tiny/model'), { engine });
const folder = temporaryFolder();

describe.each(engineNames)('a textual inversion on %s', (name) => {
  it('gives the ids and the states of diffusers', async () => {
    const engine = await startEngine(name);
    const states = await fixtureTensors('textual-inversion/io.safetensors');
    for (const [i, { file, token, prompts, ids }] of cases.entries()) {
      const base = await open(engine);
      const pipeline = await base.loadTextualInversion(path(file), { token: token ?? undefined });
      const { inputIds } = pipeline.tokenize(prompts);
      const length = ids[0]!.length;
      expect(prompts.map((_, row) => [...inputIds.subarray(row * 77, row * 77 + length)])).toEqual(ids);
      const { promptEmbeds: embeds } = await pipeline.encodePrompt(prompts);
      expectClose(slice(embeds, [0, 0, 0], [-1, length, -1]), states[i]!, 1e-4, `${file} as ${token}`);
    }
    engine.dispose();
  });
});

describe('the files of a textual inversion', () => {
  let base: StableDiffusionPipeline;
  beforeAll(async () => {
    await useBackend('wasm');
    base = await open();
  });
  const row = (values: number[][]) =>
    tensor2d(values.map((filled) => Array.from({ length: 32 }, (_, i) => filled[i] ?? 0)));
  const safetensors = (entries: Record<string, number[]>) =>
    encodeSafetensors(
      Object.fromEntries(
        Object.entries(entries).map(([key, shape]) => [
          key,
          { dtype: 'F32', shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(0.5) },
        ]),
      ),
    );

  it.each<[string, () => ConstructorParameters<never>[0] | string | ReturnType<typeof memory>, object, string[]]>([
    [
      'a folder with the usual name',
      () => memory({ 'learned_embeds.bin': bytes('learned_embeds.bin') }),
      {},
      ['<cat-toy>'],
    ],
    [
      'a folder with one file of another name',
      () => memory({ 'x.safetensors': bytes('row.safetensors'), 'a.png': '' }),
      {},
      ['<row>'],
    ],
    [
      'a folder and the name of the file',
      () => memory({ 'x.pt': bytes('a1111.pt'), 'y.pt': '' }),
      { weightName: 'x.pt' },
      ['my-style', 'my-style_1', 'my-style_2'],
    ],
    ['emb_params, by the name of the file', () => path('negative.safetensors'), {}, ['negative', 'negative_1']],
    ['clip_l of SDXL, by the name of the file', () => path('xl.safetensors'), {}, ['xl', 'xl_1']],
    ['a bare tensor with a token', () => path('bare.pt'), { token: '<bare>' }, ['<bare>', '<bare>_1']],
    [
      'a path with dots and a subfolder',
      () => memory({ 'v1.5/a.b.safetensors': bytes('negative.safetensors') }),
      { weightName: 'v1.5/a.b.safetensors' },
      ['a.b', 'a.b_1'],
    ],
  ])('may be %s', async (_, source, options, tokens) => {
    const pipeline = await base.loadTextualInversion(source() as string, options);
    expect(tokens.map((token) => pipeline.tokenizer.has(token))).toEqual(tokens.map(() => true));
    expect(pipeline.tokenizer.size).toBe(2000 + tokens.length);
    expect(pipeline.textEncoder.config.vocab_size).toBe(2000 + tokens.length);
    expect(base.tokenizer.size).toBe(2000);
  });

  it('may be for two text encoders, with a warning that one is left out', async () => {
    const warnings: string[] = [];
    await base.loadTextualInversion(path('xl.safetensors'), { onWarning: (message) => warnings.push(message) });
    expect(warnings).toEqual([expect.stringMatching(/xl\.safetensors' has .* clip_l is used, clip_g is left out/)]);
  });

  it('may have capital letters in the token, with a warning if it has several vectors', async () => {
    const warnings: string[] = [];
    const onWarning = (message: string) => warnings.push(message);
    await base.loadTextualInversion(path('two.safetensors'), { token: '<two>', onWarning });
    await base.loadTextualInversion(path('row.safetensors'), { token: '<Row>', onWarning });
    expect(warnings).toEqual([]);
    await base.loadTextualInversion(path('two.safetensors'), { onWarning });
    expect(warnings).toEqual([
      expect.stringMatching(/'<Two>' has capital letters and 2 vectors, .* the token '<two>'/),
    ]);
  });

  it.each<[string, () => unknown, object, RegExp]>([
    ['an image', () => 'style.png', {}, /'style\.png' is an image, expected a file of weights/],
    ['a bare tensor without a token', () => path('bare.pt'), {}, /bare\.pt' names no token, .* Pass token\./],
    [
      'several tokens',
      () => path('several.bin'),
      {},
      /several\.bin' got 2 tensors \('<a>', '<b>'\), expected one token/,
    ],
    ['a missing file', () => path('none.pt'), {}, /none\.pt': there is no such file/],
    [
      'several files',
      () => memory({ 'a.pt': '', 'b.bin': '' }, 'two'),
      {},
      /'two' got a\.pt, b\.bin, expected one .*'two\/a\.pt'/,
    ],
    ['no file', () => memory({ 'README.md': '' }, 'none'), {}, /'none' got no file of weights/],
    [
      'a token of the vocabulary',
      () => path('row.safetensors'),
      { token: 'photo' },
      /token got "photo", which the tokenizer has already/,
    ],
    ['an empty token', () => path('row.safetensors'), { token: '' }, /token got "", which is empty/],
    [
      'another width',
      () => memory({ 'x.safetensors': safetensors({ '<x>': [2, 768] }) }),
      {},
      /'<x>' got shape \[2, 768\], expected \[32\] or \[n, 32\].*Stable Diffusion 1\.x/,
    ],
    ['three axes', () => memory({ 'x.safetensors': safetensors({ '<x>': [1, 2, 32] }) }), {}, /got shape \[1, 2, 32\]/],
    ['no vector', () => memory({ 'x.safetensors': safetensors({ '<x>': [0, 32] }) }), {}, /got shape \[0, 32\]/],
    ['NaN', () => ({ '<x>': tensor1d([...new Array<number>(31).fill(0), NaN]) }), {}, /'<x>' got NaN at position 31/],
    [
      'a token for two embeddings',
      () => ({ a: row([[1]]), b: row([[1]]) }),
      { token: 'x' },
      /token got 'x' for 2 embeddings/,
    ],
  ])('are refused: %s', async (_, source, options, message) => {
    await expect(base.loadTextualInversion(source() as string, options)).rejects.toThrow(message);
  });

  it('may be tensors in memory, of several tokens, and in another file', async () => {
    const table = flatten(base.textEncoder.params)['text_model.embeddings.token_embedding.weight'] as StoredTensor;
    const values = await table.read();
    const [cat] = base.tokenizer.encode(['photo'], { maxLength: 3 }).inputIds.subarray(1);
    const photo = tensor1d(values.slice(cat! * 32, (cat! + 1) * 32));
    const pipeline = await base.loadTextualInversion({ '<p>': photo, '<q>': row([[1], [2]]) });
    const [expected, actual] = [await base.encodePrompt(['a photo']), await pipeline.encodePrompt(['a <P>'])];
    expectClose(actual.promptEmbeds, expected.promptEmbeds, 1e-6);
    expect([...pipeline.tokenize(['<q>']).inputIds.subarray(1, 4)]).toEqual([2001, 2002, base.tokenizer.eosTokenId]);
  });

  it('add up, and a token is not added twice', async () => {
    const once = await base.loadTextualInversion(path('row.safetensors'));
    const twice = await once.loadTextualInversion(path('a1111.pt'));
    expect([...twice.tokenize(['<row> my-style']).inputIds.subarray(1, 5)]).toEqual([2000, 2001, 2002, 2003]);
    await expect(once.loadTextualInversion(path('row.safetensors'))).rejects.toThrow(/token got "<row>", which the/);
    await expect(twice.loadTextualInversion(path('row.safetensors'), { token: 'my-style_1' })).rejects.toThrow(
      /my-style_1/,
    );
  });

  it('may lie on this machine beside others', async () => {
    mkdirSync(join(folder, 'style'));
    for (const name of ['a.safetensors', 'learned_embeds.safetensors'])
      writeFileSync(join(folder, 'style', name), bytes('row.safetensors'));
    expect((await base.loadTextualInversion(join(folder, 'style'))).tokenizer.has('<row>')).toBe(true);
  });
});

describe('a tokenizer with a token that the text encoder has no embedding for', () => {
  it('is refused where a prompt has the token', async () => {
    await useBackend('wasm');
    const base = await open();
    const pipeline = base.with({ tokenizer: base.tokenizer.withTokens({ '<lost>': 2000 }) });
    const message = /token "<lost>" got id 2000, expected one below 2000, as the text encoder has embeddings/;
    expect(() => pipeline.tokenize(['a <lost> cat'])).toThrow(message);
    await expect(pipeline.encodePrompt(['a <LOST> cat'])).rejects.toThrow(message);
    await expect(
      pipeline.loadTextualInversion({ '<x>': tensor1d(new Array<number>(32).fill(1)) as Tensor }),
    ).rejects.toThrow(/the tokenizer got 2001 tokens, expected at most 2000/);
  });
});
