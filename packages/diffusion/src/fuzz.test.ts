import { readFileSync } from 'node:fs';
import { encodeSafetensors, memory, readJson } from '@alignprop/autograd-ext/weights';
import { describe } from 'vitest';
import { fuzz, fuzzedFile } from '../../../fixtures/fuzz.js';
import { fixturePath } from '../../../fixtures/index.js';
import { CLIPTokenizer } from './clip/tokenizer.js';
import { clipTextConfig } from './clip/clip-config.js';
import { decodePng, encodePng } from './image/png.js';
import { readModelIndex } from './pipelines/model-index.js';
import { readEmbedding } from './pipelines/embedding-file.js';
import { AutoencoderKL } from './models/autoencoder-kl.js';
import { unet2DConditionConfig } from './models/unet-2d-condition-config.js';
import { createScheduler } from './schedulers/create-scheduler.js';
import type { SchedulerConfig } from './schedulers/scheduler.js';
import type { ConfigInput } from './models/model-config.js';

const modelFile = (path: string) => readFileSync(fixturePath(`sd2-tiny/model/${path}`));
const pixels = Uint8Array.from({ length: 5 * 7 * 3 }, (_, i) => i * 37);

/** Reads a config from JSON, and gives it to a reader of configs. */
const config =
  <C>(read: (config: C) => unknown) =>
  async (bytes: Uint8Array) =>
    read(await readJson<C>(memory({ config: bytes }, fuzzedFile), 'config'));

const vocab = { a: 0, 'b</w>': 1, 'ab</w>': 2, constructor: 3, '<|startoftext|>': 4, '<|endoftext|>': 5 };
const tokenizer = {
  'tokenizer_config.json': JSON.stringify({ model_max_length: 77, pad_token: '<|endoftext|>' }),
  'vocab.json': JSON.stringify(vocab),
  'merges.txt': '#version: 0.2\na b</w>\n',
};
const tokenizerJson = JSON.stringify({
  model: { type: 'BPE', vocab, merges: ['a b</w>'] },
  added_tokens: [{ id: 6, content: '<x>', special: false, single_word: false, lstrip: false, rstrip: false }],
});

describe('readers of models and images', () => {
  fuzz({
    reader: 'PNG files',
    seeds: [
      encodePng(pixels, { height: 5, width: 7, parameters: 'a crab 🦀' }),
      encodePng(pixels, { height: 7, width: 5, parameters: 'a crab' }),
    ],
    read: decodePng,
    isNameless: true,
  });
  for (const [path, read] of [
    ['unet/config.json', config((input: ConfigInput) => unet2DConditionConfig(input))],
    ['vae/config.json', config((input: ConfigInput) => new AutoencoderKL(input, {}))],
    ['text_encoder/config.json', config((input: ConfigInput) => clipTextConfig(input))],
    [
      'scheduler/scheduler_config.json',
      config((input: SchedulerConfig) => createScheduler(input, 'DDIMScheduler').timesteps(10)),
    ],
  ] as const)
    fuzz({ reader: path, seeds: [modelFile(path)], read, isNameless: true });
  fuzz({
    reader: 'model_index.json',
    seeds: [modelFile('model_index.json')],
    read: (bytes) => readModelIndex(memory({ 'model_index.json': bytes }, fuzzedFile)),
  });
  for (const [name, text] of Object.entries({ ...tokenizer, 'tokenizer.json': tokenizerJson }))
    fuzz({
      reader: `a tokenizer's ${name}`,
      seeds: [text],
      read: async (bytes) => {
        const source = memory({ ...tokenizer, [name]: bytes }, fuzzedFile);
        (await CLIPTokenizer.fromPretrained(source)).encode(['ab <x> constructor']);
      },
    });
  fuzz({
    reader: 'textual inversions',
    seeds: [encodeSafetensors({ '<crab>': { dtype: 'F32', shape: [2, 3], data: new Float32Array(6) } })],
    read: async (bytes) => {
      const source = memory({ 'learned_embeds.safetensors': bytes }, fuzzedFile);
      await (await readEmbedding(source)).vectors.read();
    },
  });
});
