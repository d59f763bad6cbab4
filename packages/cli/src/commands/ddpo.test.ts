// alignprop train --algorithm ddpo.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { useBackend } from '@alignprop/autograd-ext';
import { beforeAll, describe, expect, it } from 'vitest';
import { captureOutput } from '../../../../fixtures/capture-output.js';
import { fixturePath } from '../../../../fixtures/index.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { run } from '../program.js';

const printed = captureOutput();
const folder = temporaryFolder();
const file = (name: string): string => join(folder, name);

const fast = '--engine tfjs --sample-num-steps 1 --sample-guidance-scale 1 --height 16 --width 16 --prompt crab';
const words = (line: string): string[] => line.split(' ');
const train = (line: string): Promise<number> =>
  run(['train', '--model', fixturePath('sd2-tiny/model'), ...words(fast), ...words(line)]);

/** A reward that reads pixels, and fails in the second epoch while the file `down` exists. */
const asynchronous = `
import { existsSync } from 'node:fs';
export default async (images, prompts, metadata, { epoch }) => {
  if (epoch === 1 && existsSync('${file('down')}')) throw new Error('connect ETIMEDOUT');
  const values = await images.data();
  const size = values.length / prompts.length;
  return prompts.map((_, i) => values.slice(i * size, (i + 1) * size).reduce((sum, value) => sum + value, 0) / size);
};`;
/** A program that scores images by the lengths of their files. */
const lengths = `
require('node:readline').createInterface({ input: process.stdin }).on('line', (line) =>
  console.log(JSON.stringify({ scores: JSON.parse(line).images.map(({ length }) => length) })));`;
/** Without a gradient, which only its first call shows. */
const rounding =
  "import { mean, round } from '@tensorflow/tfjs-core';\nexport default (images) => round(mean(images, [1, 2, 3]));";

/** The command that the last error or warning suggests, as words. */
const suggested = (): string[] =>
  words(/^ {2}alignprop (.*)$/m.exec(printed.stderr.split(/error: |warning: /).at(-1)!)![1]!);

beforeAll(async () => {
  await useBackend('wasm');
  for (const [name, content] of Object.entries({ asynchronous, rounding })) writeFileSync(file(`${name}.mjs`), content);
});

describe('alignprop train --algorithm ddpo', () => {
  it.each(['asynchronous', 'rounding'])('is suggested for the %s reward by a command that works', async (name) => {
    const out = file(name);
    const alignedOnly = '--truncated-backprop-rand false --truncated-backprop-timestep 0 --sample-eta 0';
    expect(
      await train(
        `--reward ${file(`${name}.mjs`)} --output-dir ${out} --num-epochs 1 --train-batch-size 2 ${alignedOnly}`,
      ),
    ).not.toBe(0);
    expect(printed.stderr).toMatch(/gradient/);
    const command = suggested();
    expect(command.slice(0, 3)).toEqual(['train', '--algorithm', 'ddpo']);
    expect(await run(command)).toBe(0);
    expect(existsSync(join(out, 'pytorch_lora_weights.safetensors'))).toBe(true);
    expect(JSON.parse(readFileSync(join(out, 'run.json'), 'utf8'))).toMatchObject({ algorithm: 'ddpo' });
  });

  it('loses nothing when the reward fails, and prints the command that goes on to the bit', async () => {
    const options = `--algorithm ddpo --reward ${file('asynchronous.mjs')} --num-epochs 2 --reward-retries 0`;
    expect(await train(`${options} --output-dir ${file('whole')}`)).toBe(0);
    writeFileSync(file('down'), '');
    expect(await train(`${options} --output-dir ${file('broken')} --save-freq 9`)).toBe(1);
    expect(printed.stderr).toMatch(/connect ETIMEDOUT/);
    const command = words(/Continue from its last checkpoint with:\n {2}alignprop (.*)\n/.exec(printed.stderr)![1]!);
    await rm(file('down'));
    expect(await run(command)).toBe(0);
    const weights = (name: string) => readFileSync(file(`${name}/pytorch_lora_weights.safetensors`));
    expect(weights('broken').equals(weights('whole'))).toBe(true);
  });

  it('evaluates, stops early, starts from an adapter, and trains on a program plus an HTTP service', async () => {
    writeFileSync(file('score.cjs'), lengths);
    const asked: { step: number; epoch: number; prompts: string[] }[] = [];
    const server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        asked.push(JSON.parse(Buffer.concat(chunks).toString()) as (typeof asked)[number]);
        response.end(JSON.stringify({ scores: asked.at(-1)!.prompts.map((_, i) => 1e6 + i) }));
      });
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    writeFileSync(file('held-out.txt'), 'snail\n');
    const held = `--eval-prompts ${file('held-out.txt')} --eval-freq 1 --eval-reward jpeg-compressibility`;
    const evaluation = `${held} --early-stopping-patience 1`;
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/score`;
    const reward = ['--reward', `exec:node ${file('score.cjs')}`, '--reward', url];
    const start = ['--lora', file('whole/pytorch_lora_weights.safetensors'), '--json'];
    const options = words(
      `--algorithm ddpo --num-epochs 2 --train-learning-rate 1e-9 --output-dir ${file('next')} ${evaluation}`,
    );
    const model = ['--model', fixturePath('sd2-tiny/model')];
    const code = await run(['train', ...model, ...words(fast), ...options, ...reward, ...start]).finally(() =>
      server.close(),
    );
    expect([code, printed.stderr]).toEqual([0, expect.any(String)]);
    const events = printed.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { event: string; reward_mean?: number });
    expect(events.map(({ event }) => event)).toEqual(['evaluation', 'evaluation', 'step', 'judged', 'done']);
    expect(events[2]!.reward_mean).toBeGreaterThan(1e6 + 100); // the answer of the service and the length of a file
    expect(asked).toMatchObject([
      { step: 0, epoch: 0, prompts: ['crab'] },
      { step: 0, epoch: 0, prompts: ['crab'] },
    ]);
  });

  it.each([
    [
      '--algorithm ddpo --kl-weight 1 --estimator refl',
      /^error: --estimator, --kl-weight: are options of alignprop, got --algorithm ddpo\. Leave them out, or/m,
    ],
    [
      '--train-clip-range 0.1',
      /^error: --train-clip-range: is an option of ddpo, got --algorithm alignprop\. Leave it out, or/m,
    ],
    [
      '--algorithm ddpo --train-batch-size 3',
      /^error: --train-batch-size: got 3, expected a divisor of sample_batch_size 1\./m,
    ],
    [
      '--algorithm ddpo --reward jpeg-compressibility:normalised --reward https://a.example',
      /normalised, but statistics are kept of listed rewards alone/,
    ],
    ['--algorithm reinforce', /Allowed choices are alignprop, ddpo/],
  ])('refuses %s by name', async (line, message) => {
    expect(await train(line)).toBe(2);
    expect(printed.stderr).toMatch(message);
  });
});
