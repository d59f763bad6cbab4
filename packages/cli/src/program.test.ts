import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { describe, expect, it, vi } from 'vitest';
import { captureOutput } from '../../../fixtures/capture-output.js';
import { temporaryFolder } from '../../../fixtures/temporary-folder.js';
import { commandList } from './commands/command-list.js';
import { isMostUsed, mostUsedOptions } from './options/help.js';
import { otherCommandNames, otherOptionNames, otherRewardNames } from './options/other-names.js';
import { rewardNames } from './options/reward-list.js';
import { run } from './program.js';

const printed = captureOutput();
const folder = temporaryFolder();
const path = (name: string): string => join(folder, name);
writeFileSync(path('range.yaml'), 'seed: 1\nnum_epochs: 0\n');
writeFileSync(path('empty.txt'), '\n# nothing\n');
writeFileSync(path('file'), '');
writeFileSync(path('broken.json'), '{');
writeFileSync(path('list.json'), '[]');
writeFileSync(path('options.json'), '{"reward_option": {"jpeg-compressibility": {"quality": "high"}}}');
writeFileSync(path('unknown.json'), '{"num_epoch": 3}');

describe('help', () => {
  it.each(Object.entries(commandList))('lists %s, and prints its help', async (name, { summary }) => {
    expect(summary).toMatch(/^[a-z].*[^.]$/);
    expect(await run(['--help'])).toBe(0);
    expect(printed.stdout.replace(/\s+/g, ' ')).toContain(`${name} ${summary}`);
    expect(await run([name, '--help'])).toBe(0);
    expect(printed.stdout).toContain(`Usage: alignprop ${name} [options]`);
    expect(printed.stderr).toBe('');
  });

  it.each([
    [['--help'], ['train', 'generate', 'demo', 'Exit codes']],
    [
      ['train', '--help'],
      [
        '--truncated-rand-backprop-minmax <min max...>',
        '--reward <name[:weight]>',
        'Truncation:',
        'Learning rate (0.001)',
        '--output-dir <folder>',
        'Examples:',
        'alignprop train --help-all',
      ],
    ],
    [
      ['train', '--help-all'],
      ['--estimator', '--variant <name>', '--debug', 'Files in the output folder:'],
    ],
    [
      ['help', 'generate'],
      ['--lora-scale <n>', '-o, --output <file>', 'Sampling:', 'Examples:'],
    ],
    [
      ['score', '--help'],
      ['--reward-option <name.option=value>', '--prompt <text>', 'image-reward', 'Examples:'],
    ],
    [
      ['export', '--help'],
      ['--format <name>', '"kohya"', 'Examples:'],
    ],
    [
      ['push', '--help'],
      ['--hub-model-id <id>', '--dry-run', 'Examples:'],
    ],
    [['demo', '--help'], ['--output-dir <folder>']],
  ])('is printed to stdout by %j, with flags in kebab case', async (args, parts) => {
    expect(await run(args)).toBe(0);
    for (const part of parts) expect(printed.stdout).toContain(part);
    expect(printed.stdout).not.toMatch(/^ +--\S*_/m);
    expect(printed.stderr).toBe('');
  });

  const optionsOf = async (...args: string[]): Promise<string[]> => {
    expect(await run(args)).toBe(0);
    const flags = [
      ...printed.stdout.slice(printed.stdout.lastIndexOf('Usage: ')).matchAll(/^ {2}(?:-\w, )?--([a-z][\w-]*)/gm),
    ].map(([, name]) => name!);
    return flags.filter((name) => !['version', 'debug', 'help'].includes(name));
  };

  it.each(Object.keys(commandList))('of %s has each option in --help, or in --help-all alone', async (name) => {
    const command = new Command(name);
    (await commandList[name]!.load()).defineCommand(command);
    const all = command.options.filter(({ hidden }) => !hidden).map((option) => option.name());
    expect((await optionsOf(name, '--help-all')).sort()).toEqual([...all].sort());
    const short = await optionsOf(name, '--help');
    expect([...new Set(short)]).toEqual(short);
    expect(short.sort()).toEqual(all.filter((option) => isMostUsed(name, option)).sort());
    for (const option of Object.keys(mostUsedOptions[name] ?? {})) expect([...all, 'help']).toContain(option);
  });

  it.each(Object.keys(mostUsedOptions))(
    'of %s fits on a screen of 60 lines, an option a line, and points to the rest',
    async (name) => {
      expect(await run([name, '--help'])).toBe(0);
      expect(printed.stdout.split('\n').length).toBeLessThanOrEqual(60);
      expect(printed.stdout).toContain(`alignprop ${name} --help-all`);
    },
  );

  it('is printed to stderr, with exit code 2, when no command is given', async () => {
    expect(await run([])).toBe(2);
    expect([printed.stdout, printed.stderr.startsWith('Usage: alignprop')]).toEqual(['', true]);
  });

  it('includes the version', async () => {
    expect(await run(['--version'])).toBe(0);
    expect(printed.stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe('exit code 2', () => {
  it.each([
    [['trian'], /unknown command 'trian'\s+\(Did you mean train\?\)/],
    [['train', '--num-epoch', '3'], /unknown option '--num-epoch'\s+\(Did you mean --num-epochs\?\)/],
    [['train', '--num_epochs', '0'], /num_epochs: .*>=1/],
    [['train', '--sample-num-steps', '4'], /truncated_rand_backprop_minmax: .*81\.7 %.*Try \[0, 4\]/],
    [['train', '--height', '60'], /height: .*multiple of 8/],
    [['train', '--push-to-hub'], /error: --push-to-hub: got no repository, expected one\. Give --hub-model-id/],
    [
      ['train', '--reward', 'beauty'],
      /--reward: got 'beauty', expected a \.js, \.mjs or \.ts file, .* or one of aesthetic, /,
    ],
    [
      ['train', '--reward-option', 'jpeg-compressibility.size=3'],
      /got 'jpeg-compressibility\.size', expected one of jpeg-compressibility\.quality/,
    ],
    [['train', '--config', path('options.json')], /jpeg-compressibility\.quality got 'high', expected a number/],
    [['train', '--prompts', path('empty.txt')], /empty\.txt' has no prompt/],
    [['train', '--prompts', path('none.txt')], /cannot read '.*none\.txt': ENOENT/],
    [['train', '--eval-prompts', path('empty.txt')], /empty\.txt' has no prompt/],
    [
      ['train', '--eval-reward', 'aesthetic'],
      /--eval-reward: has no effect without --eval-prompts\. Give --eval-prompts/,
    ],
    [
      ['train', '--eval-prompts', path('empty.txt'), '--eval-reward', 'beauty'],
      /--eval-reward: got 'beauty', expected/,
    ],
    [['train', '--config', path('none.json')], /--config: cannot read '.*none\.json': ENOENT/],
    [['train', '--config', path('broken.json')], /--config: .*is not JSON/],
    [['train', '--config', path('list.json')], /--config: .*is not a JSON object/],
    [['train', '--config', path('range.yaml')], /num_epochs: .* \(line 2 of '.*range\.yaml'\)/],
    [
      ['train', '--config', path('unknown.json')],
      /line 1 of '.*unknown\.json': num_epoch: unknown option\. Did you mean 'num_epochs'\?/,
    ],
    [['train', '--backend', 'cuda'], /Allowed choices are wasm, cpu/],
    [['score'], /missing required argument 'images'/],
    [['score', 'a.png'], /--reward: got nothing, expected at least one/],
    [['score', 'a.png', '--reward', 'clip-score'], /--prompt: 'clip-score' compares images with their prompts/],
    [
      ['score', 'a.png', 'b.png', 'c.png', '--reward', 'jpeg-compressibility', '--prompt', 'a', '--prompt', 'b'],
      /--prompt: got 2 for 3 images/,
    ],
    [['score', path('none.png'), '--reward', 'jpeg-compressibility'], /image: cannot read '.*none\.png': ENOENT/],
    [['score', 'a.png', '--reward', path('none.ts')], /image: cannot read 'a\.png'/],
    [['generate', 'crab', '--lora_scale', '2'], /^error: --lora_scale: has no effect without --lora\. Give --lora,/],

    [['generate'], /generate: got no prompt, expected at least one/],
    [['generate', '-p', 'crab', '--steps', '0'], /'--steps <n>' argument '0' is invalid/],
    [['generate', 'crab', '--height', '60'], /'60' is invalid\. Expected a multiple of 8, such as 64/],
    [
      ['generate', 'crab', '--precision', 'float16'],
      /--precision: got fp16 for cpu, expected no there\. Give --device webgpu/,
    ],
    [['generate', 'crab', '--steps', '1.5'], /Expected an integer of at least 1/],
    [['generate', 'crab', '--seed', 'x'], /Expected a number/],
    [['generate', 'crab', '-o', 'crab.jpg'], /--output: got 'crab\.jpg', expected a name that ends in \.png/],
  ])('is returned for the usage error %j', async (args, message) => {
    expect(await run(args)).toBe(2);
    expect(printed.stderr).toMatch(message);
    expect(printed.stderr).not.toContain('    at ');
    expect(printed.stdout).toBe('');
  });
});

describe('suggestions', () => {
  it.each([
    ['gen crab', 'generate'],
    ['txt2img crab', 'generate'],
    ['finetune', 'train'],
    ['continue out', 'resume'],
    ['reward chek a.mjs', 'check'],
    ['train --lr 3', '--train-learning-rate'],
    ['train --learning_rate=3', '--train-learning-rate'],
    ['train --num_inference_steps 3', '--sample-num-steps'],
    ['train --batch-size 3', '--train-batch-size'],
    ['train --epochs 3', '--num-epochs'],
    ['train --rank 3', '--lora-rank'],
    ['train --network_dim 3', '--lora-rank'],
    ['train --cfg 3', '--sample-guidance-scale'],
    ['train --gradient_accumulation_steps 3', '--train-gradient-accumulation-steps'],
    ['train --checkpointing_steps 3', '--save-freq'],
    ['train --pretrained_model_name_or_path x', '--model'],
    ['train -o out', '--output-dir'],
    ['train --outptu-dir out', '--output-dir'],
    ['resume out --lr 3', '--train-learning-rate'],
    ['generate crab --num_inference_steps 3', '--steps'],
    ['generate crab --cfg-scale 3', '--guidance-scale'],
    ['generate crab --cfg 3', '--guidance-scale'],
    ['generate crab --sampler euler', '--scheduler'],
    ['generate crab --lora-weights a', '--lora'],
    ['generate crab --output-dir a', '--output'],
    ['generate crab --batch-size 3', '--num-images'],
    ['generate crab --negative_prompts_ a', '--negative-prompt'],
    ['score a.png --metric aesthetic', '--reward'],
    ['train --verbose', '--debug'],
  ])('answers `%s` in one line with %s, and the exit code 2', async (line, name) => {
    expect(await run(line.split(' '))).toBe(2);
    expect(printed.stderr).toMatch(/^error: unknown (option|command) '.*' \(Did you mean (\S+)\?\)\n$/);
    expect(printed.stderr).toContain(`(Did you mean ${name}?)`);
    const typed = line.split(/[ =]/).find((word) => word.startsWith('-'));
    expect(printed.stderr).toContain(`'${typed ?? ''}`);
  });

  it.each([
    ['asthetic', 'aesthetic'],
    ['clip', 'clip-score'],
    ['PickScore', 'pick-score'],
    ['hpsv2', 'hps-v2'],
    ['jpeg', 'jpeg-compressibility'],
  ])('answer the reward %s with %s', async (written, name) => {
    expect(await run(['score', 'a.png', '--reward', written])).toBe(2);
    expect(printed.stderr).toContain(`Did you mean ${name}?\n`);
  });

  it.each([
    ['frobnicate', "error: unknown command 'frobnicate' (See alignprop --help.)\n"],
    ['train --xyzzyxyzzy', "error: unknown option '--xyzzyxyzzy' (See alignprop train --help.)\n"],
  ])('point to the help where no name is near: %s', async (line, message) => {
    expect(await run(line.split(' '))).toBe(2);
    expect(printed.stderr).toBe(message);
  });

  it('stand for an option or command that exists', async () => {
    const commands = await Promise.all(
      Object.entries(commandList).map(async ([name, { load }]) => {
        const command = new Command(name);
        (await load()).defineCommand(command);
        return command.options.filter(({ hidden }) => !hidden).map((option) => option.name());
      }),
    );
    for (const meant of Object.values(otherOptionNames).flat()) expect([...commands.flat(), 'debug']).toContain(meant);
    for (const meant of Object.values(otherCommandNames).flat()) expect(Object.keys(commandList)).toContain(meant);
    for (const meant of Object.values(otherRewardNames).flat()) expect(rewardNames).toContain(meant);
  });
});

describe('flags as they were typed', () => {
  it.each([
    ['train --num_epochs x', /option '--num_epochs <n>' argument 'x' is invalid/],
    ['train --num_epochs 0', /error: --num_epochs: /],
    ['train --steps x', /option '--steps <n>' argument 'x' is invalid/],
    ['train --alignprop_config.seed x', /option '--alignprop_config\.seed <n>' argument/],
    ['generate crab --sample_num_steps 0', /option '--sample_num_steps <n>' argument '0' is invalid/],
    ['train --eval_reward aesthetic', /--eval_reward: has no effect without/],
  ])('are named in the error of `%s`', async (line, message) => {
    expect(await run(line.split(' '))).toBe(2);
    expect(printed.stderr).toMatch(message);
    expect(printed.stderr).toMatch(/^error: .*\n/);
  });
});

describe('exit code 1', () => {
  const quiet = ['--quiet', '--output-dir', path('out')];
  it.each([
    [
      ['train', '--model', path('none'), '--prompt', 'crab', ...quiet],
      /error: resolveSource: location got '.*none', expected an existing folder or a hub id/,
    ],
    [['train', '--model', folder, '--prompt', 'crab', ...quiet], /error: .*model_index\.json/],
    [
      ['train', '--output-dir', path('file/out')],
      /error: output: cannot write to '.*file.out': ENOTDIR.*Choose another folder/,
    ],
    [['train', '--resume-from', path('none'), ...quiet], /error: resume_from: no checkpoint in/],
    [['generate', 'crab', '-o', path('file/crab.png')], /error: output: cannot write to/],
    [
      ['generate', 'crab', '--lora', path('none.safetensors'), '--quiet', '-o', path('crab.png')],
      /error: .*none\.safetensors/,
    ],
  ])('is returned for the failure of %j', async (args, message) => {
    expect(await run(args)).toBe(1);
    expect(printed.stderr).toMatch(message);
    expect(printed.stderr).not.toContain('    at ');
    expect(printed.stdout).toBe('');
  });

  it('is 2 for an image to start from that cannot be read, before the model is loaded', async () => {
    expect(await run(['generate', 'crab', '--image', path('none.png'), '-o', path('crab.png')])).toBe(2);
    expect(printed.stderr).toMatch(/^error: image: cannot read/);
  });

  it('is returned before anything is written', () => {
    expect(readdirSync(folder).sort()).toEqual([
      'broken.json',
      'empty.txt',
      'file',
      'list.json',
      'options.json',
      'range.yaml',
      'unknown.json',
    ]);
  });

  it.each(['--debug', 'DEBUG=1'])('comes with a stack trace and the cause under %s', async (setting) => {
    if (setting === 'DEBUG=1') vi.stubEnv('DEBUG', '1');
    const debug = setting === '--debug' ? ['--debug'] : [];
    expect(await run(['generate', 'crab', '-o', path('file/crab.png'), ...debug])).toBe(1);
    vi.unstubAllEnvs();
    expect(printed.stderr).toMatch(/ {4}at .*image-files/);
    expect(printed.stderr).toContain('[cause]');
  });
});
