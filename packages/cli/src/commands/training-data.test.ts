// alignprop train --data-weight, with --data-dir and with the model's own pictures.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { useBackend } from '@alignprop/autograd-ext';
import { encodePng } from '@alignprop/diffusion';
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
  '--sample-guidance-scale 1 --height 16 --width 24 --prompt crab --data-weight 1';
const train = (out: string, line: string): Promise<number> =>
  run(['train', '--model', fixturePath('sd2-tiny/model'), '--output-dir', file(out), ...`${fast} ${line}`.split(' ')]);
const losses = (out: string): number[] =>
  readFileSync(file(`${out}/metrics.jsonl`), 'utf8')
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { data_loss: number }).data_loss);
const identity = (out: string) =>
  (JSON.parse(readFileSync(file(`${out}/run.json`), 'utf8')) as { identity: { data: { name: string } } }).identity.data;

interface Manifest {
  identity: { prompts: { name: string } };
}

const png = (height: number, width: number) =>
  encodePng(
    Uint8Array.from({ length: height * width * 3 }, (_, i) => (i * 37) % 256),
    { height, width },
  );

beforeAll(async () => {
  await useBackend('wasm');
  mkdirSync(file('pictures'));
  for (const [name, size] of [
    ['a', [40, 20]],
    ['b', [9, 30]],
  ] as const) {
    writeFileSync(file(`pictures/${name}.png`), png(size[0], size[1]));
    writeFileSync(file(`pictures/${name}.txt`), `picture ${name}`);
  }
});

it('trains on pictures of any size, and a resumed run repeats what it draws of them', async () => {
  const data = `--data-dir ${file('pictures')}`;
  expect(await train('straight', `${data} --num-epochs 2`)).toBe(0);
  expect(printed.stderr).toContain(`Encoding 2 pictures of '${file('pictures')}', resized and cropped to 24 × 16`);
  expect(await train('halves', `${data} --num-epochs 1`)).toBe(0);
  expect(await run(['resume', file('halves'), '--num-epochs', '2'])).toBe(0);
  expect(losses('halves')).toEqual(losses('straight'));
  expect(identity('straight')).toEqual(identity('halves'));
  writeFileSync(file('pictures/b.txt'), 'another caption');
  expect(await run(['resume', file('halves'), '--num-epochs', '3'])).toBe(0);
  expect(printed.stderr).toContain('warning: resume_from: data changes from');
});

it('draws pictures of the training prompts before training where there are none', async () => {
  expect(await train('prior', '--prior-images 2 --num-epochs 1')).toBe(0);
  expect(printed.stderr).toContain('Drawing 2 pictures of the model before training');
  expect(losses('prior')[0]).toBeGreaterThan(0);
  expect(identity('prior').name).toBe('2 pictures of the model');
});

it('says in a dry run what it trains on, and draws and encodes nothing', async () => {
  expect(await train('none', '--prior-images 3 --data-batch-size 2 --dry-run')).toBe(0);
  expect(printed.stdout).toContain('Data        3 pictures of the model: 2 beside them each time');
  expect(printed.stderr).not.toContain('Drawing');
});

it('starts from the pictures with their captions as prompts, and resumes', async () => {
  const start = (out: string, line: string) =>
    run([
      ...['train', '--model', fixturePath('sd2-tiny/model'), '--output-dir', file(out)],
      ...`--engine tfjs --estimator direct-align --estimator-images dataset --sample-num-steps 2`.split(' '),
      ...`--height 16 --width 24 --data-dir ${file('pictures')} ${line}`.split(' '),
    ]);
  expect(await start('from-data', '--dry-run')).toBe(0);
  expect(printed.stdout).toContain(`Data        2 pictures of '${file('pictures')}': 1 to start from each time`);
  expect(await start('from-data', '--num-epochs 1')).toBe(0);
  expect(await run(['resume', file('from-data'), '--num-epochs', '2'])).toBe(0);
  const rows = readFileSync(file('from-data/metrics.jsonl'), 'utf8').trim().split('\n');
  expect(rows.map((row) => (JSON.parse(row) as { grad_norm: number }).grad_norm > 0)).toEqual([true, true]);
  const { prompts } = (JSON.parse(readFileSync(file('from-data/run.json'), 'utf8')) as Manifest).identity;
  expect(prompts.name).toBe("2 prompts from 'picture a'");
});

it('refuses a picture that cannot be read before it trains, and names it', async () => {
  mkdirSync(file('damaged'));
  writeFileSync(file('damaged/a.png'), png(16, 16).subarray(0, 60));
  writeFileSync(file('damaged/a.txt'), 'a crab');
  expect(await train('damaged-run', `--data-dir ${file('damaged')} --num-epochs 1`)).not.toBe(0);
  expect(printed.stderr).toContain(`error: image: '${file('damaged/a.png')}': `);
});
