// `alignprop train --lora`, and runs of few-step models: what a run starts from.
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { useBackend } from '@alignprop/autograd-ext';
import { openLora } from '@alignprop/lora';
import { beforeAll, expect, it } from 'vitest';
import { captureOutput } from '../../../../fixtures/capture-output.js';
import { fixturePath } from '../../../../fixtures/index.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { run } from '../program.js';

const folder = temporaryFolder();
const printed = captureOutput();
const file = (name: string): string => join(folder, name);
const fast =
  '--engine tfjs --truncated-backprop-rand false --truncated-backprop-timestep 0 --sample-num-steps 1 ' +
  '--sample-guidance-scale 1 --height 16 --width 16 --prompt crab --quiet --eval-freq 1';
const train = (out: string, ...words: string[]): Promise<number> =>
  run([
    ...['train', '--model', fixturePath('sd2-tiny/model'), '--output-dir', file(out), '--num-epochs', '1'],
    ...['--eval-prompts', file('held.txt'), ...fast.split(' '), ...words],
  ]);
const evaluations = (out: string): number[] =>
  readFileSync(file(`${out}/evaluations.jsonl`), 'utf8')
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { eval_reward_mean: number }).eval_reward_mean);
const weights = 'pytorch_lora_weights.safetensors';

beforeAll(async () => {
  await useBackend('wasm');
  writeFileSync(file('held.txt'), 'an owl\n');
  expect(await train('first', '--train-learning-rate', '0.1', '--lora-rank', '2', '--lora-alpha', '2')).toBe(0);
});

it('goes on training an adapter with the rank and alpha of its file, and resumes', async () => {
  expect(await train('on', '--lora', file(`first/${weights}`))).toBe(0);
  expect(evaluations('on')[0]).toBe(evaluations('first')[1]);
  expect(JSON.parse(readFileSync(file('on/config.json'), 'utf8'))).toMatchObject({ lora_rank: 2, lora_alpha: 2 });
  expect(await run(['resume', file('on'), '--num-epochs', '2', '--quiet'])).toBe(0);
  expect(evaluations('on')).toHaveLength(3);
});

const lora = ['--lora', file('first')];
it.each<[problem: string, words: readonly string[], message: RegExp]>([
  [
    'another rank than that of the file',
    [...lora, '--lora-rank', '8'],
    /--lora-rank: got 8, but .*first' has 2\. Leave/,
  ],
  ['several adapters', [...lora, ...lora], /--lora: got .*, expected one adapter without a weight/],
  ['a weight', ['--lora', `${file('first')}:0.5`], /--lora: got .*, expected one adapter without a weight/],
  ['none to freeze', ['--lora-freeze'], /--lora-freeze: has no effect without --lora\./],
])('refuses %s', async (_, words, message) => {
  expect(await train('refused', ...words)).toBe(2);
  expect(printed.stderr).toMatch(message);
});

it('trains a new adapter upon a frozen one, and resumes with it alone', async () => {
  expect(await train('upon', ...lora, '--lora-scale', '1', '--lora-freeze', '--lora-rank', '1')).toBe(0);
  expect(evaluations('upon')[0]).toBeCloseTo(evaluations('first')[1]!, 4);
  expect(await run(['resume', file('upon'), '--num-epochs', '2', '--quiet'])).toBe(0);
  const { components } = await openLora(file(`upon/${weights}`));
  const [module] = Object.values(components.unet!.modules);
  expect(module).toMatchObject({ kind: 'lora', a: { shape: [1, expect.any(Number)] } });
  expect(await run(['resume', file('upon'), '--lora', file(`upon/${weights}`), '--lora-freeze', '--quiet'])).toBe(1);
  expect(printed.stderr).toMatch(/error: resume_from: lora got .*upon.* \(frozen\), expected .*first:1 \(frozen\)/);
});

it('trains a few-step model with settings that fit it, and says which', async () => {
  const model = file('sd-turbo');
  cpSync(fixturePath('sd2-tiny/model'), model, { recursive: true });
  cpSync(fixturePath('sdxl-tiny/turbo/sd-turbo'), model, { recursive: true });
  const words = '--engine tfjs --height 16 --width 16 --prompt crab --num-epochs 1 --output-dir';
  expect(await run(['train', '--model', model, ...words.split(' '), file('turbo')])).toBe(0);
  expect(printed.stderr).toMatch(/few-step\s+model[^]*chose\s+--scheduler\s+config,\s+--sample-num-steps\s+1,/);
  expect(printed.stderr).toMatch(/generate crab [^]*--steps\s+1\s+--guidance-scale\s+0\s+--eta\s+0/);
  expect(JSON.parse(readFileSync(file('turbo/config.json'), 'utf8'))).toMatchObject({
    scheduler: 'config',
    sample_num_steps: 1,
    sample_guidance_scale: 0,
    truncated_rand_backprop_minmax: [0, 0],
  });
});
