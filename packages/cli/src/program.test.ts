import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { run } from './program.js';

const folder = mkdtempSync(join(tmpdir(), 'alignprop-usage-'));
const path = (name: string): string => join(folder, name);
writeFileSync(path('empty.txt'), '\n# nothing\n');
writeFileSync(path('file'), '');
writeFileSync(path('broken.json'), '{');
writeFileSync(path('list.json'), '[]');
writeFileSync(path('options.json'), '{"reward_option": {"jpeg-compressibility": {"quality": "high"}}}');
writeFileSync(path('unknown.json'), '{"num_epoch": 3}');
afterAll(() => rmSync(folder, { recursive: true }));

let stdout: string;
let stderr: string;
beforeEach(() => {
  [stdout, stderr] = ['', ''];
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => ((stdout += String(text)), true));
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => ((stderr += String(text)), true));
});
afterEach(() => void vi.restoreAllMocks());

describe('help', () => {
  it.each([
    [['--help'], ['train', 'generate', 'demo', 'Exit codes']],
    [
      ['train', '--help'],
      [
        '--truncated-rand-backprop-minmax <min max...>',
        '--reward <name[:weight]>',
        'Truncation:',
        '(default: 0.001)',
        '--output-dir <text>',
        'Examples:',
      ],
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
    [['demo', '--help'], ['--output-dir <folder>']],
  ])('%j', async (args, parts) => {
    expect(await run(args)).toBe(0);
    for (const part of parts) expect(stdout).toContain(part);
    expect(stdout).not.toMatch(/^ +--\S*_/m);
    expect(stderr).toBe('');
  });

  it('is a usage error where a command is missing', async () => {
    expect(await run([])).toBe(2);
    expect([stdout, stderr.startsWith('Usage: alignprop')]).toEqual(['', true]);
  });

  it('knows the version', async () => {
    expect(await run(['--version'])).toBe(0);
    expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe('exit code 2', () => {
  it.each([
    [['trian'], /unknown command 'trian'\s+\(Did you mean train\?\)/],
    [['train', '--num-epoch', '3'], /unknown option '--num-epoch'\s+\(Did you mean --num-epochs\?\)/],
    [['train', '--num_epochs', '0'], /num_epochs: .*>=1/],
    [['train', '--sample-num-steps', '4'], /truncated_rand_backprop_minmax: .*81\.7 %.*Try \[0, 4\]/],
    [['train', '--height', '60'], /height: .*multiple of 8/],
    [['train', '--push-to-hub'], /push_to_hub: got true, expected false/],
    [
      ['train', '--reward', 'beauty'],
      /--reward: got 'beauty', expected a \.js, \.mjs or \.ts file, or one of aesthetic, /,
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
      /--eval-reward: got aesthetic without held-out prompts\. Give --eval-prompts/,
    ],
    [['train', '--eval-reward', 'beauty'], /--eval-reward: got 'beauty', expected/],
    [['train', '--config', path('none.json')], /--config: .*cannot be read: ENOENT/],
    [['train', '--config', path('broken.json')], /--config: .*is not JSON/],
    [['train', '--config', path('list.json')], /--config: .*is not a JSON object/],
    [['train', '--config', path('unknown.json')], /num_epoch: unknown option\. Did you mean 'num_epochs'\?/],
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
    [['generate'], /missing required argument 'prompts'/],
    [['generate', 'crab', '--height', '60'], /'60' is invalid\. Expected a multiple of 8, such as 64/],
    [
      ['generate', 'crab', '--precision', 'float16'],
      /--precision: got float16 for cpu, expected float32 there\. Give --device webgpu/,
    ],
    [['generate', 'crab', '--steps', '1.5'], /Expected an integer of at least 1/],
    [['generate', 'crab', '--seed', 'x'], /Expected a number/],
    [['generate', 'crab', '--lora', 'a', '--lora', 'b'], /Only one adapter/],
    [['generate', 'crab', '-o', 'crab.jpg'], /--output: got 'crab\.jpg', expected a name that ends in \.png/],
  ])('%j', async (args, message) => {
    expect(await run(args)).toBe(2);
    expect(stderr).toMatch(message);
    expect(stderr).not.toContain('    at ');
    expect(stdout).toBe('');
  });
});

describe('exit code 1', () => {
  const usual = ['--quiet', '--output-dir', path('out')];
  it.each([
    [
      ['train', '--model', path('none'), '--prompt', 'crab', ...usual],
      /error: resolveSource: location got '.*none', expected an existing folder or a hub id/,
    ],
    [['train', '--model', folder, '--prompt', 'crab', ...usual], /error: .*model_index\.json/],
    [
      ['train', '--output-dir', path('file/out')],
      /error: output: cannot write to '.*file.out': ENOTDIR.*Choose another folder/,
    ],
    [['train', '--resume-from', path('none'), ...usual], /error: resume_from: no checkpoint in/],
    [['generate', 'crab', '-o', path('file/crab.png')], /error: output: cannot write to/],
    [
      ['generate', 'crab', '--lora', path('none.safetensors'), '--quiet', '-o', path('crab.png')],
      /error: .*none\.safetensors/,
    ],
  ])('%j', async (args, message) => {
    expect(await run(args)).toBe(1);
    expect(stderr).toMatch(message);
    expect(stderr).not.toContain('    at ');
    expect(stdout).toBe('');
  });

  it('comes with nothing half-written', () => {
    expect(readdirSync(folder).sort()).toEqual([
      'broken.json',
      'empty.txt',
      'file',
      'list.json',
      'options.json',
      'out',
      'unknown.json',
    ]);
    expect(readdirSync(path('out'))).toEqual([]);
  });

  it.each(['--debug', 'DEBUG=1'])('has a stack with %s', async (way) => {
    if (way.startsWith('DEBUG')) vi.stubEnv('DEBUG', '1');
    expect(await run(['generate', 'crab', '-o', path('file/crab.png'), ...(way === '--debug' ? [way] : [])])).toBe(1);
    vi.unstubAllEnvs();
    expect(stderr).toMatch(/ {4}at .*image-files/);
    expect(stderr).toContain('[cause]');
  });
});
