// Tests what a user gets from npm: packs every package, installs the tarballs into empty folders outside the repository
// and runs them in bare Node. Catches missing files, wrong exports, and gradients that a build dropped.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pack } from '../consumers/pack.js';
import { checkRemedies } from './remedies.js';
import { checkBundles } from './bundles.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const programs = fileURLToPath(new URL('programs', import.meta.url));
const { version: tfjs } = JSON.parse(
  readFileSync(join(root, 'node_modules/@tensorflow/tfjs-core/package.json'), 'utf8'),
) as { version: string };
const pngSignature = '89504e470d0a1a0a';

const folder = mkdtempSync(join(tmpdir(), 'alignprop-smoke-'));
try {
  const tarballs = pack(folder);
  smokeLibraries(tarballs);
  await smokeRewards(tarballs);
  smokeCommand(tarballs);
  console.log(checkRemedies(join(folder, 'command'), join(root, 'fixtures/jpeg/image0_q10.jpg')));
  console.log('The packed packages work.');
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** Computes one gradient and runs ONNX Runtime in its process; draws one image with the diffusion package alone. */
function smokeLibraries(tarballs: Record<string, string>): void {
  const home = install('libraries', [tarballs['autograd-ext']!, tarballs.diffusion!, `@tensorflow/tfjs-core@${tfjs}`]);
  const model = join(folder, 'model');
  mkdirSync(model);
  run('tar', ['-xzf', tarballs.cli!, '-C', model, '--strip-components=1'], folder);
  console.log(run('node', ['gradient.mjs'], home).trim());
  if (process.platform !== 'win32') console.log(run('node', ['own-process.mjs'], home).trim());
  console.log(run('node', ['generate.mjs', join(model, 'models/tiny-emoji')], home).trim());
}

/** Installs the rewards with their dependencies alone: computes a score and checks the contents of a bundle. */
async function smokeRewards(tarballs: Record<string, string>): Promise<void> {
  const home = install('rewards', [
    tarballs['autograd-ext']!,
    tarballs.diffusion!,
    tarballs.rewards!,
    `@tensorflow/tfjs-core@${tfjs}`,
  ]);
  console.log(run('node', ['score.mjs'], home).trim());
  console.log(await checkBundles(home));
}

/** Runs the command: help, one training step, a picture drawn with the adapter it wrote, and its score. */
function smokeCommand(tarballs: Record<string, string>): void {
  const home = install('command', Object.values(tarballs));
  const alignprop = (...args: string[]): string => run('npx', ['--no-install', 'alignprop', ...args], home);
  check(alignprop('--help').includes('train'), 'alignprop --help does not mention train');
  const steps = [
    '--num-epochs',
    '1',
    '--train-batch-size',
    '1',
    '--train-gradient-accumulation-steps',
    '1',
    '--sample-num-steps',
    '3',
    '--truncated-rand-backprop-minmax',
    '0',
    '2',
  ];
  alignprop('train', '--reward', 'jpeg-compressibility', '--output-dir', 'out', ...steps);
  const adapter = 'out/pytorch_lora_weights.safetensors';
  for (const file of ['out/config.json', adapter]) check(statSync(join(home, file)).size > 0, `${file} is empty`);
  const [metrics] = readFileSync(join(home, 'out/metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, number>);
  for (const key of ['epoch', 'global_step', 'reward_mean', 'reward_std', 'loss', 'grad_norm', 'seconds'])
    check(Number.isFinite(metrics?.[key]), `metrics.jsonl has no number ${key}`);
  check(readdirSync(join(home, 'out/checkpoints')).length > 0, 'out/checkpoints is empty');
  alignprop('generate', 'crab', '--lora', adapter, '--steps', '2', '--seed', '7', '-o', 'crab.png');
  check(readFileSync(join(home, 'crab.png')).subarray(0, 8).toString('hex') === pngSignature, 'crab.png is no PNG');
  const scored = JSON.parse(alignprop('score', 'crab.png', '--reward', 'jpeg-compressibility', '--json')) as {
    score: number;
  };
  check(scored.score < -0.6, `crab.png scores ${scored.score}, expected minus its kilobytes`);
  smokeForeignReward(alignprop, steps);
  console.log(`command: one step, reward ${metrics!.reward_mean}; crab.png written`);
}

/** Trains with a reward file that lies in a folder with copies of the packages of its own. */
function smokeForeignReward(alignprop: (...args: string[]) => string, steps: readonly string[]): void {
  const file = join(folder, 'rewards/own-reward.mjs');
  const code = `
    import { jpegCompressibility, weightedSum } from '@alignprop/rewards';
    import { mean } from '@tensorflow/tfjs-core';
    const bright = (images) => mean(images, [1, 2, 3]);
    export const createReward = () => weightedSum({ small: [jpegCompressibility(), 1], bright: [bright, 1] });`;
  writeFileSync(file, code);
  alignprop('train', '--reward', file, '--output-dir', 'foreign', ...steps);
  const [line] = readFileSync(join(folder, 'command/foreign/metrics.jsonl'), 'utf8').split('\n');
  const { grad_norm } = JSON.parse(line!) as { grad_norm: number };
  check(grad_norm > 0, `a reward with packages of its own has the gradient ${grad_norm}`);
}

/** Creates a project with these packages and the smoke programs. Returns its path. */
function install(name: string, packages: readonly string[]): string {
  const home = join(folder, name);
  cpSync(programs, home, { recursive: true });
  writeFileSync(join(home, 'package.json'), '{ "private": true, "type": "module" }');
  run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', ...packages], home);
  return home;
}

function run(command: string, args: readonly string[], cwd: string): string {
  console.log(`$ ${command} ${args.join(' ')}`);
  return execFileSync(command, args, {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 2 ** 26,
    shell: process.platform === 'win32', // npm and npx are scripts there
    env: { ...process.env, NODE_OPTIONS: '' },
  });
}

function check(condition: boolean, problem: string): void {
  if (!condition) throw new Error(`dist-smoke: ${problem}.`);
}
