// Every program of examples/ runs as it stands, on the embedded model and in an empty folder. Those without servers and
// processes run in this process, one after the other, which saves their start.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { decodePng } from '@alignprop/diffusion';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { bundleCommand } from '../fixtures/bundle-command.js';
import { bundlePrograms } from '../fixtures/bundle-program.js';
import { hasMpirun, runProgram } from '../fixtures/run-program.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const path = (name: string): string => join(root, name);
const tinyEmoji = path('packages/cli/models/tiny-emoji');
const aesthetic = path('fixtures/reward-aesthetic');
const detector = path('fixtures/reward-object-detection/mid');

/** The arguments of a program, numbers that it prints, and files that it writes. */
interface Example {
  readonly args?: readonly string[];
  /** A pattern with a number in brackets, and this number to two digits. */
  readonly prints?: readonly (readonly [pattern: RegExp, value: number])[];
  readonly files?: readonly string[];
}

const examples: Readonly<Record<string, Example>> = {
  // Without arguments TRL's script downloads Stable Diffusion 1.5.
  'alignprop.ts': {
    args: [
      ...['--pretrained_model', tinyEmoji, '--clip_model', join(aesthetic, 'clip')],
      ...['--hf_hub_aesthetic_model_id', aesthetic],
      ...['--hf_hub_aesthetic_model_filename=sac+logos+ava1-l14-linearMSE.pth', '--use_lora=true', '--num_epochs=1'],
      ...['--sample_num_steps', '2', '--truncated_rand_backprop_minmax=[0,2]', '--train_batch_size=1'],
      ...['--train_gradient_accumulation_steps=1', '--tracker_project_name=stable_diffusion_training'],
      ...['--log_with=wandb', '--log_image_freq=1'],
    ],
    prints: [[/^step 0: reward (\S+)/, 4.98]],
  },
  'finetuned.ts': { files: ['dump/crab.png', 'dump/whale.png'] },
  'image-hook.ts': {
    prints: [[/step 1: crab: -3\.\d+, crab: (\S+)/, -3.205]],
    files: ['out/hook/step-0.png', 'out/hook/step-1.png'],
  },
  'lora-on-own-model.ts': {
    prints: [
      [/loss (\S+) before/, 4.147],
      [/(\S+) after/, 0.314],
      [/(\S+) from the file/, 0.314],
    ],
    files: ['out/own-lora/adapter_model.safetensors'],
  },
  'mixed-rewards.ts': {
    prints: [
      [/step 0:.*"small":([^,]*)/, -3.444],
      [/step 1:.*"bright":([^,]*)/, 1.125],
    ],
  },
  'npm-model-reward.ts': { prints: [[/step 1: {"happy":([^,]*)/, -2.881]] },
  'own-estimator.ts': { prints: [[/chance of each step to train: \[([^,]*)/, 0.333]] },
  'own-reward.ts': {
    prints: [[/step 1: reward (\S+)/, -0.044]],
    files: ['out/apple.png', 'out/own-reward/pytorch_lora_weights.safetensors'],
  },
  'prompts-with-metadata.ts': { prints: [[/step 0: reward (\S+)/, -0.118]] },
  'rank-pictures.ts': { prints: [[/^\S+ \S+ \(colourful (\S+)\)/, 2.4]] },
  'remove-concept.ts': {
    args: ['person', detector],
    prints: [[/step 0: {"absent":([^,]*)/, 0.6465]],
    files: ['out/no-person/pytorch_lora_weights.safetensors'],
  },
  'similar-picture.ts': { prints: [[/step 2: reward (\S+)/, -0.078]], files: ['out/target.png'] },
};
const elsewhere = ['my-reward.mjs', 'server.ts', 'two-processes.ts'];

const home = mkdtempSync(join(tmpdir(), 'alignprop-examples-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));

it('knows every program of examples/, as its README does', () => {
  const programs = readdirSync(path('examples')).filter((name) => /\.(ts|mjs)$/.test(name));
  expect([...Object.keys(examples), ...elsewhere].sort()).toEqual(programs);
  const readme = readFileSync(path('examples/README.md'), 'utf8');
  for (const name of programs) expect(readme).toContain(`[${name}](${name})`);
});

describe('in an empty folder', () => {
  const { argv } = process;
  const folder = process.cwd();
  let printed: string[] = [];
  beforeAll(() => {
    process.chdir(home);
    vi.spyOn(console, 'log').mockImplementation(
      (...values: unknown[]) => void printed.push(values.map(show).join(' ')),
    );
  });
  afterAll(() => {
    vi.restoreAllMocks();
    process.chdir(folder);
    process.argv = argv;
  });

  it.each(Object.entries(examples))('%s runs', async (name, { args = [], prints = [], files = [] }) => {
    printed = [];
    process.argv = [process.execPath, path(`examples/${name}`), ...args];
    await import(/* @vite-ignore */ pathToFileURL(path(`examples/${name}`)).href);
    for (const [pattern, value] of prints)
      expect(Number(pattern.exec(printed.join('\n'))?.[1]), printed.join('\n')).toBeCloseTo(value, 2);
    for (const file of files) expect(existsSync(join(home, file)), file).toBe(true);
  });
});

const show = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));

let server: string;
let twoProcesses: string;
beforeAll(async () => {
  const paths = ['server.ts', 'two-processes.ts'].map((name) => path(`examples/${name}`));
  [server, twoProcesses] = (await bundlePrograms(paths, join(home, 'bundles'))) as [string, string];
});

it('my-reward.mjs passes the checks of the command', async () => {
  const args = ['reward', 'check', path('examples/my-reward.mjs')];
  const program = await bundleCommand(join(home, 'command'));
  const { code, stdout, stderr } = await runProgram(program, args, { cwd: home, isBundled: true });
  expect(code, stdout + stderr).toBe(0);
});

it('server.ts draws the picture of a seed, and refuses requests without a prompt', async () => {
  const stopped: Promise<void>[] = [];
  const answers: { status: number; body: Uint8Array }[] = [];
  const { stderr } = await runProgram(server, [], {
    cwd: home,
    isBundled: true,
    env: { STEPS: '2' },
    onStdout: (text, child) => {
      if (!text.includes('\n') || stopped.length > 0) return;
      stopped.push(
        (async () => {
          for (const url of [text.trim(), text.trim(), text.replace(/prompt.*/s, '')]) {
            const response = await fetch(url);
            answers.push({ status: response.status, body: new Uint8Array(await response.arrayBuffer()) });
          }
        })().finally(() => void child.kill()),
      );
    },
  });
  await Promise.all(stopped);
  expect(
    answers.map(({ status }) => status),
    stderr,
  ).toEqual([200, 200, 400]);
  expect(decodePng(answers[0]!.body)).toMatchObject({ width: 64, height: 64 });
  expect(answers[1]!.body).toEqual(answers[0]!.body);
});

it.skipIf(!hasMpirun('examples.test.ts'))('two-processes.ts trains to the same numbers on both ranks', async () => {
  const { code, stdout, stderr } = await runProgram(twoProcesses, [], { cwd: home, isBundled: true, ranks: 2 });
  expect(code, stderr).toBe(0);
  const [first, second] = [0, 1].map((rank) =>
    [...stdout.matchAll(new RegExp(`rank ${rank} of 2, step (\\d): mean reward of all (\\S+)`, 'g'))].map(
      ([, step, reward]) => [step, reward],
    ),
  );
  expect(first).toHaveLength(2);
  expect(second).toEqual(first);
});
