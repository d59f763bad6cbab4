// The command as a user runs it, in processes of its own.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { cp, truncate, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { directory, openSafetensors } from '@alignprop/autograd-ext/weights';
import { decodePng } from '@alignprop/diffusion';
import { bundleCommand } from '../../../fixtures/bundle-command.js';
import { startMockHub } from '../../../fixtures/mock-hub.js';
import { runProgram, type ProgramOptions, type ProgramResult } from '../../../fixtures/run-program.js';
import { temporaryFolder } from '../../../fixtures/temporary-folder.js';
import { embeddedModel } from './embedded-model.js';
import { simpleAnimals } from './options/prompt-list.js';

const folder = temporaryFolder();
const programFolder = temporaryFolder();
let program: string;
beforeAll(async () => void (program = await bundleCommand(programFolder)));

/** Runs a command in the folder. @param args words with spaces between them, or lists of words */
function alignprop(
  args: readonly (string | readonly string[])[],
  options: ProgramOptions = {},
): Promise<ProgramResult> {
  const words = args.flatMap((arg) => (typeof arg === 'string' ? arg.split(' ') : arg));
  return runProgram(program, words, { cwd: folder, isBundled: true, ...options, env: { DEBUG: '', ...options.env } });
}

const short = '--sample-num-steps 2 --truncated-rand-backprop-minmax 0 1 --sample_guidance_scale 2';

const file = (path: string): string => resolve(folder, path);
const text = (path: string): string => readFileSync(file(path), 'utf8');
const records = (jsonl: string): Record<string, unknown>[] =>
  jsonl
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
const image = (path: string) => decodePng(readFileSync(file(path)));

/** Absolute differences between the pixels of two images. */
function differences(a: string, b: string): number[] {
  const [first, second] = [image(a).data, image(b).data];
  expect(first).toHaveLength(second.length);
  return Array.from(first, (value, i) => Math.abs(value - second[i]!));
}

describe('alignprop train', () => {
  let trained: ProgramResult;
  beforeAll(async () => {
    await writeFile(
      file('config.json'),
      JSON.stringify({ num_epochs: 7, trainBatchSize: 2, seed: 5, prompts: 'subjects.csv' }),
    );
    await writeFile(file('subjects.csv'), 'prompt,kind\nfrog,animal\nrose,plant\n');
    await writeFile(file('held-out.txt'), '# held out\ncrab\n\nred apple\n');
    trained = await alignprop([
      'train --config config.json --num_epochs 2 --output-dir run --eval-prompts held-out.txt --json',
      short,
    ]);
  });

  it('writes the files that its help lists', async () => {
    expect(trained).toMatchObject({ code: 0 });
    expect(readdirSync(file('run')).sort()).toEqual([
      'README.md',
      'before-after.png',
      'checkpoints',
      'config.json',
      'eval-prompts.txt',
      'metrics.jsonl',
      'pictures',
      'prompts.csv',
      'pytorch_lora_weights.safetensors',
      'run.json',
      'samples',
    ]);
    expect(readdirSync(file('run/checkpoints'))).toEqual(['checkpoint_1', 'checkpoint_2']);
    expect(readdirSync(file('run/samples'))).toEqual(['step_000000.png', 'step_000001.png']);
    expect(image('run/samples/step_000000.png')).toMatchObject({
      height: 128 + 8,
      width: 2 * 128 + 12,
      text: { parameters: expect.stringMatching(/^(frog|rose) \(reward -\d/) as string },
    });
    expect(image('run/before-after.png')).toMatchObject({ height: 2 * 128 + 12, width: 2 * 128 + 12 });
    const { tensors } = await openSafetensors(directory(file('run')), 'pytorch_lora_weights.safetensors');
    expect([...tensors.keys()]).toContain(
      'unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora.down.weight',
    );
  });

  it('trains any model on animals when no prompts are given', async () => {
    const run = await alignprop([
      ['train', '--model', embeddedModel.path],
      '--reward jpeg-compressibility --num-epochs 1 --output-dir animals --quiet',
      short,
    ]);
    expect(run).toMatchObject({ code: 0 });
    const { parameters } = image('animals/samples/step_000000.png').text;
    expect(simpleAnimals).toContain(parameters!.split(' (')[0]);
  });

  it('evaluates held-out prompts with another reward when --eval-reward is given', async () => {
    const run = await alignprop([
      'train --num-epochs 1 --output-dir evaluated --json --eval-prompts held-out.txt --eval-freq 1',
      '--eval-reward jpeg-incompressibility:2 --reward-option jpeg-incompressibility.quality=50',
      short,
    ]);
    expect(run).toMatchObject({ code: 0 });
    expect(readdirSync(file('evaluated/evaluations'))).toEqual(['step_000000.png', 'step_000001.png']);
    expect(image('evaluated/evaluations/step_000001.png').text.parameters).toMatch(
      /^crab \(reward \d+\.\d{4}\)\nred apple \(reward/,
    );
    expect(records(run.stdout).at(-1)).toMatchObject({
      best: {
        lora: 'evaluated/best/pytorch_lora_weights.safetensors',
        global_step: expect.any(Number) as number,
        eval_reward_mean: expect.any(Number) as number,
      },
    });
    const { reward_mean } = records(text('evaluated/metrics.jsonl'))[0]!;
    expect(reward_mean).toBeLessThan(0);
    const [before, after] = records(text('evaluated/evaluations.jsonl')).map(
      ({ eval_reward_mean }) => eval_reward_mean as number,
    );
    expect(before).toBeGreaterThan(0);
    expect(records(run.stdout).at(-1)).toMatchObject({
      event: 'done',
      reward_before: expect.closeTo(before!, 6) as number,
      reward_after: expect.closeTo(after!, 6) as number,
    });
  });

  it('says which columns of its prompts it takes for what, and what it skips', () => {
    expect(trained.stderr).toContain(
      "'subjects.csv': 2 prompts in column 'prompt'; metadata for the reward in 'kind'.\n" +
        "'held-out.txt': skipped 1 line that starts with #.\n",
    );
  });

  it('prefers flags to the configuration file, and the file to defaults', () => {
    expect(JSON.parse(text('run/config.json'))).toMatchObject({
      num_epochs: 2,
      train_batch_size: 2,
      seed: 5,
      sample_num_steps: 2,
      truncated_rand_backprop_minmax: [0, 1],
      save_freq: 1,
    });
  });

  it('prints one object a line to stdout with --json, and progress to stderr', () => {
    const printed = records(trained.stdout);
    expect(printed.map(({ event }) => event)).toEqual(['step', 'step', 'judged', 'done']);
    const steps = records(text('run/metrics.jsonl'));
    expect(printed.slice(0, 2)).toEqual(steps.map((step) => ({ event: 'step', ...step })));
    expect(Object.keys(steps[0]!)).toEqual([
      'epoch',
      'global_step',
      'reward_mean',
      'reward_std',
      'loss',
      'grad_norm',
      'learning_rate',
      'seconds',
    ]);
    expect(printed[2]).toMatchObject({ prompts: ['crab', 'red apple'] });
    expect(printed[3]).toMatchObject({
      output_dir: 'run',
      global_step: 2,
      reward_before: expect.any(Number) as number,
      reward_after: expect.any(Number) as number,
    });
    const { seconds } = printed[3] as { seconds: Record<string, number> };
    expect(Object.keys(seconds)).toEqual(['sampling', 'gradient', 'evaluation', 'saving']);
    for (const time of Object.values(seconds)) expect(time).toBeGreaterThan(0);
    expect(trained.stderr).toMatch(
      /Next:\n {2}\S+ run\/before-after\.png\n {2}alignprop generate crab --lora run\S*\.safetensors --steps 2 .*\n/,
    );
    expect(trained.stderr).toMatch(/Epoch 2\/2 reward -\d\.\d{3}, loss \d\.\d{3}, grad \d\.\d{3}, \d+\.\d s\/step\n/);
  });

  it('names the damaged file of a checkpoint', async () => {
    await cp(file('run'), file('damaged'), { recursive: true });
    await truncate(file('damaged/checkpoints/checkpoint_2/optimizer.safetensors'), 1000);
    const run = await alignprop(['resume damaged/checkpoints/checkpoint_2 --quiet']);
    expect(run).toMatchObject({ code: 1, stdout: '' });
    expect(run.stderr).toMatch(
      new RegExp(
        '^(warning.*\\n)?error: (.*: )?Checkpoint: cannot resume from .*checkpoint_2: optimizer\\.safetensors is not ' +
          'what was written.*Resume from another checkpoint.*\\n$',
      ),
    );
  });

  it('writes an adapter that generate applies, at the given strength', async () => {
    const generate = 'generate crab --seed 7 --steps 2 --quiet';
    const withAdapter = '--lora run/pytorch_lora_weights.safetensors --lora-scale 4';
    expect(await alignprop([generate, '-o with.png', withAdapter])).toMatchObject({ code: 0, stdout: '', stderr: '' });
    expect(await alignprop([generate, '-o off.png --lora run --lora-scale 0'])).toMatchObject({ code: 0 });
    expect(await alignprop([generate, '-o without.png'])).toMatchObject({ code: 0 });
    expect(await alignprop([generate, '-o again.png'])).toMatchObject({ code: 0 });
    expect(readFileSync(file('again.png'))).toEqual(readFileSync(file('without.png')));
    expect(Math.max(...differences('off.png', 'without.png'))).toBeLessThanOrEqual(1);
    expect(Math.max(...differences('with.png', 'without.png'))).toBeGreaterThan(10);
    expect(image('with.png').text.parameters).toContain('Lora: "pytorch_lora_weights.safetensors: 4"');
  });

  it("writes an adapter that export converts to other programs' formats", async () => {
    expect(await alignprop(['export run -o kohya.safetensors'])).toMatchObject({
      code: 0,
      stdout: 'kohya.safetensors\n',
      stderr: expect.stringMatching(/^Taking tiny-emoji, the embedded model, .* Give --model if .*\n$/) as string,
    });
    const { tensors } = await openSafetensors(directory(folder), 'kohya.safetensors');
    expect([...tensors.keys()]).toContain(
      'lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight',
    );
  });

  it('writes a checkpoint on Ctrl-C and SIGTERM, and prints the command that continues from it', async () => {
    const args = ['train --output-dir stopped', ['--prompt', 'red rose'], short] as const;
    let lastStep = 0;
    for (const [signal, code, more] of [
      ['SIGINT', 130, '--hf_user_access_token secret'],
      ['SIGTERM', 143, '--resume-from stopped'],
    ] as const) {
      let isSent = false;
      const stopped = await alignprop([...args, more, '--num-epochs 1000'], {
        onStderr: (stderr, child) => {
          if (isSent || !/Epoch \d+\/1000/.test(stderr)) return;
          isSent = true;
          child.kill(signal);
        },
      });
      expect(stopped.code).toBe(code);
      const [, steps, command] = /stopped after step (\d+) of 1000. Continue with:\n {2}alignprop (.*)\n/.exec(
        stopped.stderr,
      )!;
      expect(command).toBe('resume stopped');
      expect(text('stopped/run.json')).not.toContain('secret');
      expect(existsSync(file('stopped/pytorch_lora_weights.safetensors'))).toBe(true);
      expect(Number(steps)).toBeGreaterThan(lastStep);
      lastStep = Number(steps);
    }
    const resumed = await alignprop([`resume stopped --num-epochs ${lastStep + 1}`]);
    expect(resumed.code).toBe(0);
    expect(records(text('stopped/metrics.jsonl')).map(({ global_step }) => global_step)).toEqual(
      Array.from({ length: lastStep + 1 }, (_, i) => i),
    );
    expect(readdirSync(file('stopped'))).not.toContain('run.lock');
  });
});

describe('alignprop train | head', () => {
  it('ends quietly with a checkpoint', async () => {
    const run = await alignprop(['train --num-epochs 1000 --output-dir piped --json', short], {
      onStdout: (_, child) => child.stdout!.destroy(),
    });
    expect(run.code).toBe(141);
    expect(run.stderr).not.toMatch(/EPIPE|error|warning/);
    expect(readdirSync(file('piped/checkpoints')).length).toBeGreaterThan(0);
    expect(existsSync(file('piped/pytorch_lora_weights.safetensors'))).toBe(true);
  });
});

describe('alignprop generate', () => {
  it('generates the pixels that diffusers generates', async () => {
    // diffusers 0.40, torch 2.13 on a CPU: pipe('crab', negative_prompt='blue', num_inference_steps=5,
    // guidance_scale=5, eta=0.5, generator=torch.Generator().manual_seed(7))
    const generated = await alignprop([
      'generate crab --negative_prompt blue --steps 5 --guidance-scale=5 --eta 0.5 --seed 7 -o new/crab.png --json',
    ]);
    expect(generated.code).toBe(0);
    expect(records(generated.stdout)).toEqual([
      { event: 'image', path: 'new/crab.png', prompt: 'crab', seed: 7, height: 64, width: 64 },
    ]);
    const off = differences('new/crab.png', fileURLToPath(new URL('__fixtures__/crab.png', import.meta.url)));
    expect(Math.max(...off)).toBeLessThanOrEqual(1); // values between two bytes may be rounded to either
    expect(off.filter((difference) => difference > 0).length).toBeLessThan(20);
    expect(image('new/crab.png').text.parameters).toBe(
      'crab\nNegative prompt: blue\n' +
        'Steps: 5, Sampler: DDIM, CFG scale: 5, Seed: 7, Size: 64x64, Model: tiny-emoji, Eta: 0.5',
    );
  });

  it('downloads a model from the hub only once', async () => {
    const hub = await startMockHub({ 'some/model': embeddedModel.path });
    const env = { HF_ENDPOINT: hub.endpoint, HF_HOME: file('hf') };
    const args = ['generate crab --model some/model --steps 1 -o hub.png'];
    const first = await alignprop(args, { env });
    await hub.close();
    expect(first).toMatchObject({ code: 0 });
    expect(first.stderr).toMatch(/Downloading unet.diffusion_pytorch_model\.safetensors \(\d+\.\d MB\)\n/);
    expect(image('hub.png').text.parameters).toContain('Model: model');
    const again = await alignprop(args, { env: { ...env, HF_HUB_OFFLINE: '1' } });
    expect(again).toMatchObject({ code: 0 });
    expect(again.stderr).not.toContain('Downloading');
  });

  it('numbers several images, and warns of the words that are too many for the text encoder', async () => {
    const generated = await alignprop([
      ['generate', `crab ${'red '.repeat(40)}`, 'rose'],
      '--num-images 2 --steps 2 --guidance-scale 1 --height 32 --width 40 --scheduler euler --seed 1 -o many.png',
    ]);
    expect(generated.code).toBe(0);
    expect([1, 2, 3, 4].map((i) => image(`many-${i}.png`))).toMatchObject(Array(4).fill({ height: 32, width: 40 }));
    expect(image('many-4.png').text.parameters).toMatch(/^rose\n.*Sampler: Euler,.*Batch size: 4, Batch pos: 3$/);
    expect(generated.stderr).toMatch(/warning: a prompt is too long for the text encoder: '(red ?)+' was left out/);
  });
});
