import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { memory } from '@tensorflow/tfjs-core';
import { useBackend } from '@alignprop/autograd-ext';
import { openLora } from '@alignprop/lora';
import { expect, it } from 'vitest';
import { captureOutput } from '../../../../fixtures/capture-output.js';
import { fixturePath } from '../../../../fixtures/index.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { run } from '../program.js';

const printed = captureOutput();
const folder = temporaryFolder();
const file = (name: string): string => join(folder, name);

const fast =
  '--engine tfjs --truncated-backprop-rand false --truncated-backprop-timestep 0 --sample-num-steps 1 ' +
  '--sample-guidance-scale 1 --height 16 --width 16 --prompt crab --quiet';
const dora = '--lora-kind dora --train-text-encoder --lora-target-modules to_v conv1 downsamplers.0.conv';
const train = (...words: string[]): Promise<number> =>
  run(['train', '--model', fixturePath('sd2-tiny/model'), ...`${fast} ${dora}`.split(' '), ...words]);

it('alignprop train --lora-kind dora trains, resumes and describes DoRA, and export writes it for kohya', async () => {
  await useBackend('wasm');
  expect(await train('--num-epochs', '1', '--output-dir', file('out'))).toBe(0);
  expect(await train('--num-epochs', '2', '--output-dir', file('out'), '--resume-from', file('out'))).toBe(0);
  const { versions } = JSON.parse(readFileSync(file('out/run.json'), 'utf8')) as { versions: Record<string, string> };
  const ours = ['autograd-ext', 'cli', 'diffusion', 'lora', 'rewards', 'trainer'].map((name) => `@alignprop/${name}`);
  const engine = ['@tensorflow/tfjs-backend-wasm', '@tensorflow/tfjs-core'];
  expect(Object.keys(versions).sort()).toEqual([...ours, ...engine, 'node', 'platform']);
  expect(Object.values(versions)).not.toContain('unknown');

  const trained = file('out/pytorch_lora_weights.safetensors');
  const { components } = await openLora(trained);
  expect(Object.keys(components).sort()).toEqual(['text_encoder', 'unet']);
  for (const { modules } of Object.values(components))
    expect(new Set(Object.values(modules).map(({ kind }) => kind))).toEqual(new Set(['dora']));

  const model = ['--model', fixturePath('sd2-tiny/model')];
  expect(await run(['export', trained, ...model, '-o', file('kohya.safetensors')])).toBe(0);
  expect((await openLora(file('kohya.safetensors'))).components).toHaveProperty('text_encoder');
  const before = memory().numTensors;
  expect(await train('--output-dir', file('dry'), '--dry-run', '--json')).toBe(0);
  expect(printed.stdout).toMatch(/"event":"dry_run".*"lora_kind":"dora"/);
  expect(memory().numTensors).toBe(before);
});
