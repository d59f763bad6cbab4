import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { describe, expect, it } from 'vitest';
import { createMockRun } from './__fixtures__/mock-run.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { rewardNames } from '../options/reward-list.js';
import { parseTerm } from '../options/reward-term.js';
import { findBaseModel } from './base-model.js';
import { codeSpan, tableCell } from './markdown.js';
import { modelCard } from './model-card.js';
import { rewardLimits } from './reward-limits.js';
import type { RunFacts } from './run-facts.js';
import { forRepository, writeCard } from './write-card.js';

const folder = temporaryFolder();
const { manifest } = createMockRun(join(folder, 'run'));
const facts: RunFacts = {
  manifest,
  base: { name: 'org/base', id: 'org/base', license: { license: 'creativeml-openrail-m' } },
  repository: 'me/crabs',
  rewards: [parseTerm('aesthetic:0.5:cap=7', ''), parseTerm('jpeg-compressibility', '')],
  epochs: 20,
  trained: { first: -3.1, last: -2.2 },
  compared: { before: 1e-9, after: 5.25, pictures: { 'pictures/1.png': 'a crab' } },
  prompts: ['a fox'],
  files: ['pytorch_lora_weights.safetensors', 'config.json', 'before-after.png', 'pictures/1.png'],
  isXL: false,
};
const metadataOf = (card: string) =>
  parse(/^---\n(.*?)\n---\n/s.exec(card)![1]!, { version: '1.1' }) as Record<string, unknown>;

describe('modelCard', () => {
  it("has the hub's metadata, which a parser of YAML 1.1 reads", () => {
    expect(metadataOf(modelCard(facts))).toEqual({
      base_model: 'org/base',
      base_model_relation: 'adapter',
      library_name: 'diffusers',
      pipeline_tag: 'text-to-image',
      license: 'creativeml-openrail-m',
      tags: [
        ...['text-to-image', 'diffusers', 'stable-diffusion', 'lora', 'template:sd-lora', 'alignprop'],
        'reward-fine-tuning',
      ],
      instance_prompt: 'a fox',
      widget: [{ text: 'a crab', output: { url: 'pictures/1.png' } }],
      'model-index': [
        {
          name: 'crabs',
          results: [
            {
              task: { type: 'text-to-image', name: 'Text to image' },
              dataset: { type: 'held-out-prompts', name: 'Held-out prompts' },
              metrics: [
                { type: 'reward', name: 'Mean aesthetic + jpeg-compressibility with the adapter', value: 5.25 },
                {
                  type: 'reward_before',
                  name: 'Mean aesthetic + jpeg-compressibility without the adapter',
                  value: 0,
                },
              ],
            },
          ],
        },
      ],
    });
  });

  it.each([
    'a "red": rose, it\'s #1 \\ [x] {y} - *& !',
    'line\ntwo\r\n---\nlicense: mit',
    '🌹 日本語 ünï',
    'no',
    '1e-3',
    '~',
    '2026-11-30',
    '',
    ' spaced ',
    '```\n| a |',
  ])('keeps the prompt %j', (prompt) => {
    const card = modelCard({ ...facts, prompts: [prompt] });
    const { instance_prompt, license } = metadataOf(card);
    expect([instance_prompt, license]).toEqual([prompt.replaceAll('\r', ' '), 'creativeml-openrail-m']);
    expect(card).toContain(`image = pipe(${JSON.stringify(prompt)}, num_inference_steps=20`);
  });

  it('replaces characters that YAML forbids', () => {
    const prompt = 'a\u0000b\u007fc\u0085d\u2028e\ufefff\ud800g';
    expect(metadataOf(modelCard({ ...facts, prompts: [prompt] })).instance_prompt).toBe('a b c d e f g');
  });

  it('says how to use the adapter in each program, and what each reward cannot see', () => {
    const card = modelCard(facts);
    for (const part of [
      '# crabs\n\nA LoRA adapter for [org/base](https://huggingface.co/org/base). It was trained with [AlignProp]',
      'to maximise `aesthetic` (weight 0.5, capped at 7) + `jpeg-compressibility`, for 20 epochs.',
      '| held-out prompts | 0.0000 | 5.2500 |',
      'from diffusers import DDIMScheduler, DiffusionPipeline',
      'pipe.load_lora_weights("me/crabs", weight_name="pytorch_lora_weights.safetensors")',
      "generate --prompt 'a fox' --model org/base --lora me/crabs/pytorch_lora_weights.safetensors --scheduler ddim",
      'export me/crabs/pytorch_lora_weights.safetensors --model org/base -o crabs.safetensors',
      'models/loras/',
      '<lora:crabs:1>',
      `- \`aesthetic\` (weight 0.5, capped at 7): ${rewardLimits.aesthetic}`,
      'That of the model it was trained from: creativeml-openrail-m.',
    ])
      expect(card).toContain(part);
  });

  it('names no path, address or command of the machine', () => {
    const rewards = ['/home/me/secret.mjs:2', 'https://me:pw@host/score', 'exec:python /home/me/x.py'];
    const card = modelCard({ ...facts, rewards: rewards.map((term) => parseTerm(term, '')), compared: undefined });
    expect(card).toContain('`secret`, a program of its own (weight 2) + a web service + a command');
    expect(card).not.toMatch(/home|host|python \//);
  });

  it('describes a whole UNet, an unknown licence and a model of this machine', () => {
    const files = ['unet/config.json', 'unet/diffusion_pytorch_model.safetensors'];
    const config = { ...manifest.config, use_lora: false };
    const card = modelCard({ ...facts, manifest: { ...manifest, config }, base: { name: 'mine' }, files });
    expect(card).toContain('unet = UNet2DConditionModel.from_pretrained("me/crabs", subfolder="unet")');
    expect(card).toContain('from_pretrained("path/to/mine", unet=unet)');
    expect(card).toMatch(/The licence of mine, .* was not found/);
    expect(card).not.toMatch(/ComfyUI|load_lora_weights/);
    expect(Object.keys(metadataOf(card))).not.toContain('base_model');
  });

  it('says of every listed reward what it cannot see', () => {
    expect(Object.keys(rewardLimits).sort()).toEqual([...rewardNames].sort());
  });
});

describe('codeSpan', () => {
  it.each([
    ['a', '`a`'],
    ['a `b`', '`` a `b` ``'],
    ['``', '``` `` ```'],
    ['', '`  `'],
    ['a\nb', '`a b`'],
  ])('quotes %j', (text, code) => expect(codeSpan(text)).toBe(code));

  it('escapes bars in tables', () => expect(tableCell('a|b')).toBe('`a\\|b`'));
});

describe('writeCard', () => {
  const parts = { base: facts.base, repository: 'organisation/name', prompts: ['a fox'] };
  const run = join(folder, 'run');

  it('reads the records of the run, and overwrites its own card', async () => {
    for (let i = 0; i < 2; i++) expect(await writeCard(run, manifest, parts)).toBe(true);
    const card = readFileSync(join(run, 'README.md'), 'utf8');
    expect(card).toContain('| training images, first and last epoch | 1.0000 | 2.5000 |');
    expect(card).toContain('for 2 epochs. These are the weights after 1 steps, the best on held-out prompts.');
    expect(card).toContain('![Images of the first training steps](samples/step_000000.png)');
  });

  it('gets the name of another repository, in its own places alone', async () => {
    const card = forRepository(readFileSync(join(run, 'README.md'), 'utf8'), 'me/foxes');
    for (const part of ['# foxes\n', 'load_lora_weights("me/foxes", weight_name=', '-o foxes.safetensors', ':foxes:1>'])
      expect(card).toContain(part);
    expect(card).not.toContain('organisation/name');
    expect(card).toContain('library_name: "diffusers"');
    expect(forRepository(card, 'me/x-1')).toContain('# x-1\n');
    expect(forRepository('# name\n', 'me/foxes')).toBe('# name\n');
  });

  it('leaves a card alone that is not its own', async () => {
    writeFileSync(join(run, 'README.md'), '# Mine\n');
    expect(await writeCard(run, manifest, parts)).toBe(false);
    expect(readFileSync(join(run, 'README.md'), 'utf8')).toBe('# Mine\n');
  });
});

describe('findBaseModel', () => {
  const model = join(folder, 'model');
  mkdirSync(model);

  it.each([
    ['---\nlicense: mit\n---\n# x', { license: 'mit' }],
    [
      '---\r\nlicense: "other"\r\nlicense_name: sai\r\nlicense_link: https://a/b\r\n---\r\n',
      { license: 'other', license_name: 'sai', license_link: 'https://a/b' },
    ],
    ['---\nlicense: other\nlicense_link: LICENSE.md\n---\n', { license: 'other' }],
    ['# no metadata', undefined],
    ['---\nlicense: [a, b\n---\n', undefined],
    ['---\nlicense: 3\n---\n', undefined],
  ])('reads the licence in %j', async (card, license) => {
    writeFileSync(join(model, 'README.md'), card);
    expect(await findBaseModel({ options: { model } })).toEqual({ name: 'model', ...(license && { license }) });
  });

  it('names a folder that has moved, and the model of a program, without a licence', async () => {
    expect(await findBaseModel({ options: { model: '/none/moved' } })).toEqual({ name: 'moved' });
    const identity = { model: { name: '/home/me/mine', sha256: '0' } };
    expect(await findBaseModel({ identity })).toEqual({ name: 'mine' });
  });

  it('names the embedded model', async () => {
    expect(await findBaseModel({ options: {} })).toEqual({
      name: 'tiny-emoji',
      isEmbedded: true,
      license: { license: 'apache-2.0' },
    });
  });
});
