import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { addTrainingOptions } from '../commands/train.js';
import { givenFields } from './config-options.js';
import { runIdentity } from './run-identity.js';
import { applyManifest, promptFiles, storedOptions } from './run-manifest.js';

const folder = temporaryFolder();
const path = (name: string): string => join(folder, name);

/** The command with these flags. */
function parse(...flags: string[]) {
  const command = new Command();
  const fields = addTrainingOptions(command);
  command.parse(flags, { from: 'user' });
  return { command, fields };
}

/** Writes run.json. @returns the options and fields of a command with these flags that resumes the run */
async function resume(manifest: object, ...flags: string[]) {
  writeFileSync(
    path('run.json'),
    JSON.stringify({ version: 1, algorithm: 'alignprop', kind: 'alignprop', ...manifest }),
  );
  const { command, fields } = parse(...flags);
  const found = await applyManifest(command, fields, folder);
  return { found, options: command.opts<Record<string, unknown>>(), fields: givenFields(command, fields) };
}

describe('storedOptions', () => {
  it('are what flags have set, with absolute paths, without secrets, one-off switches and fields', () => {
    for (const name of ['red.mjs', 'clip', 'my.txt']) writeFileSync(path(name), '');
    const relative = (name: string) => join(process.cwd(), path(name)).slice(process.cwd().length);
    const { command, fields } = parse(
      ...['--reward', `${path('red.mjs')}:2:cap=3`, '--reward', 'aesthetic:cap=7', '--prompts', relative('my.txt')],
      ...['--reward-option', `aesthetic.weights=${path('clip')}`, '--reward-option', 'aesthetic.head=none.pth'],
      ...[
        '--model',
        'some/model',
        '--num-epochs',
        '3',
        '--json',
        '--dry-run',
        '--force',
        'model',
        '--max-memory',
        '8GB',
      ],
      ...['--token', 'secret', '--engine', 'tfjs', '--prompt-column', 'text'],
    );
    expect(storedOptions(command, fields)).toEqual({
      model: 'some/model',
      engine: 'tfjs',
      reward: [`${resolve(path('red.mjs'))}:2:cap=3`, 'aesthetic:cap=7'],
      rewardOption: [`aesthetic.weights=${resolve(path('clip'))}`, 'aesthetic.head=none.pth'],
      prompts: resolve(path('my.txt')),
      promptColumn: 'text',
    });
  });
});

describe('applyManifest', () => {
  const options = { model: 'some/model', revision: 'abc', reward: ['red.mjs'], prompts: '/gone/my.csv' };
  const config = { num_epochs: 3, lora_alpha: 16, output_dir: 'elsewhere', negative_prompts: null };

  it('sets what flags have not set, and the folder of the run', async () => {
    const resumed = await resume({ config, options }, '--num-epochs', '9');
    expect(resumed.options).toMatchObject({ ...options, outputDir: folder });
    expect(resumed.fields).toEqual({ num_epochs: 9, lora_alpha: 16, output_dir: folder, negative_prompts: null });
  });

  it('takes prompts from their copy in the folder', async () => {
    writeFileSync(path('prompts.csv'), 'prompt\ncrab\n');
    expect((await resume({ config, options })).options.prompts).toBe(path('prompts.csv'));
    expect(await promptFiles({ prompts: path('prompts.csv'), evalPrompts: ['crab'] })).toEqual({
      'prompts.csv': Buffer.from('prompt\ncrab\n'),
    });
  });

  it('leaves out what belongs to an option that another one replaces', async () => {
    const resumed = await resume({ config, options }, '--model', 'other', '--prompt', 'crab');
    expect(resumed.options).toMatchObject({ model: 'other', prompt: ['crab'], reward: ['red.mjs'] });
    for (const name of ['revision', 'prompts']) expect(resumed.options[name]).toBeUndefined();
  });

  it('keeps the options of rewards that are still there under those that are given, and names others', async () => {
    const reward = ['aesthetic', 'jpeg-compressibility', 'https://a.example/x'];
    const stored = ['aesthetic.weights=clip', 'jpeg-compressibility.quality=80', 'service.timeout=9'];
    const run = { config, options: { reward, rewardOption: stored } };
    expect((await resume(run)).options.rewardOption).toEqual({
      aesthetic: { weights: 'clip' },
      'jpeg-compressibility': { quality: '80' },
      service: { timeout: '9' },
    });
    const flags = ['--reward', 'aesthetic:2', '--reward-option', 'aesthetic.head=my.pth', '--eval-reward', 'exec:cat'];
    const changed = await resume(run, ...flags);
    expect(changed.options.rewardOption).toEqual({
      aesthetic: { weights: 'clip', head: 'my.pth' },
      service: { timeout: '9' },
    });
    expect(changed.found!.warnings).toEqual([
      '--reward-option: jpeg-compressibility.quality=80 of the run is left out: ' +
        'the reward that it belonged to is gone.',
    ]);
    const overridden = await resume(run, '--reward-option', 'service.timeout=3');
    expect(overridden.options.rewardOption).toMatchObject({ service: { timeout: '3' } });
  });

  it('takes the algorithm of the run, and refuses another one by name', async () => {
    expect((await resume({ config, algorithm: 'ddpo' })).options.algorithm).toBe('ddpo');
    await expect(resume({ config, algorithm: 'ddpo' }, '--algorithm', 'alignprop')).rejects.toThrow(
      /^--algorithm: got alignprop, but the run in '.*' is one of ddpo, expected the same\. Leave it out, or start/,
    );
    await expect(resume({ config }, '--algorithm', 'ddpo')).rejects.toThrow('is one of alignprop');
  });

  it('finds the run of a checkpoint, and none in an empty folder', async () => {
    await resume({ config, options });
    const { command, fields } = parse();
    mkdirSync(path('checkpoints/checkpoint_3'), { recursive: true });
    const found = await applyManifest(command, fields, path('checkpoints/checkpoint_3'));
    expect(found).toMatchObject({ folder, manifest: { config } });
    mkdirSync(path('empty'));
    expect(await applyManifest(command, fields, path('empty'))).toBeUndefined();
  });

  it('refuses a damaged manifest', async () => {
    await expect(resume({})).rejects.toThrow(/^--resume-from: run\.json: .* is not the manifest of a run: .*config/);
  });
});

describe('runIdentity', () => {
  mkdirSync(path('model/unet'), { recursive: true });
  const inputs = {
    model: { model: path('model') },
    lora: [],
    reward: [`${path('own.mjs')}:2`],
    evalReward: [],
    rewardOption: [],
    prompts: { training: { list: { prompts: ['crab', 'owl'] }, remarks: [], warnings: [] } },
  };
  const hashes = async (change: Partial<typeof inputs> = {}) => {
    const identity = await runIdentity({ ...inputs, ...change });
    return Object.fromEntries(Object.entries(identity).map(([name, { sha256 }]) => [name, sha256]));
  };
  const differing = (a: Record<string, string>, b: Record<string, string>) =>
    Object.keys(a).filter((name) => a[name] !== b[name]);

  it('changes with the content of the model, the reward file, its weight, and the prompts alone', async () => {
    writeFileSync(path('model/model_index.json'), '{}');
    writeFileSync(path('model/unet/diffusion_pytorch_model.safetensors'), 'weights');
    writeFileSync(path('own.mjs'), 'export default () => 1');
    const first = await hashes();
    writeFileSync(path('model/README.md'), 'text');
    expect(await hashes()).toEqual(first);
    expect(differing(first, await hashes({ reward: [path('own.mjs')] }))).toEqual(['reward']);
    writeFileSync(path('own.mjs'), 'export default () => 2');
    expect(differing(first, await hashes())).toEqual(['reward']);
    const training = { list: { prompts: ['crab'] }, remarks: [], warnings: [] };
    expect(differing(await hashes(), await hashes({ prompts: { training } }))).toEqual(['prompts']);
    const before = await hashes();
    writeFileSync(path('model/unet/diffusion_pytorch_model.safetensors'), 'weighty');
    expect(differing(before, await hashes())).toEqual(['model']);
  });
});
