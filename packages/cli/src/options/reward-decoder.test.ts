// `alignprop train --reward-decoder`: what the reward judges, in a run of one step of the embedded model.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { dispose, fill, tensor1d } from '@tensorflow/tfjs-core';
import { useBackend } from '@alignprop/autograd-ext';
import { LinearDecoder, saveModel } from '@alignprop/diffusion';
import { beforeAll, expect, it } from 'vitest';
import { captureOutput } from '../../../../fixtures/capture-output.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { embeddedDecoder } from '../embedded-model.js';
import { run } from '../program.js';

const folder = temporaryFolder();
const printed = captureOutput();
const file = (name: string): string => join(folder, name);
const fast =
  '--engine tfjs --truncated-backprop-rand false --truncated-backprop-timestep 0 --sample-num-steps 1 --num-epochs 1 ' +
  '--sample-guidance-scale 1 --height 16 --width 16 --prompt crab --reward jpeg-compressibility';

interface Metrics {
  readonly reward_mean: number;
  readonly grad_norm: number;
}

/** Trains one step with a decoder. @returns its metrics */
async function train(decoder: string | undefined, out: string, ...more: string[]): Promise<Metrics> {
  const words = [...(decoder === undefined ? [] : ['--reward-decoder', decoder]), ...more];
  expect(await run(['train', ...fast.split(' '), '--output-dir', file(out), ...words])).toBe(0);
  const [step] = readFileSync(file(`${out}/metrics.jsonl`), 'utf8').split('\n') as [string];
  return JSON.parse(step) as Metrics;
}

let own: number;
beforeAll(async () => {
  await useBackend('wasm');
  own = (await train(undefined, 'own', '--quiet')).reward_mean;
});

it('--reward-decoder linear fits a decoder to the model, says so first, and trains on what it makes', async () => {
  const { reward_mean: reward, grad_norm: norm } = await train('linear', 'linear');
  const lines = printed.stderr.split('\n');
  const said = lines.findIndex((line) =>
    line.startsWith('The reward judges what the decoder linear makes of latents;'),
  );
  const fitted = lines.findIndex((line) => /^The linear decoder explains \d+\.\d % of the variance of 4/.test(line));
  const stepped = lines.findIndex((line) => line.startsWith('Epoch 1/1'));
  expect([said, fitted, stepped].sort((a, b) => a - b)).toEqual([said, fitted, stepped]);
  expect(said).toBeGreaterThanOrEqual(0);
  expect(norm).toBeGreaterThan(0);
  expect(Math.abs(reward - own)).toBeGreaterThan(1e-3);
});

/** The reward of a blank picture; see `jpegCompressibility`. */
const rewardOfBlank = -0.629;

it('--reward-decoder FOLDER trains on what a saved linear decoder makes', async () => {
  const params = { weight: fill([3, 4], 1e-4), bias: tensor1d([0.5, 0.5, 0.5]) };
  await saveModel(file('blank'), 'LinearDecoder', new LinearDecoder({}, params));
  dispose(params);
  const { reward_mean: reward, grad_norm: norm } = await train(file('blank'), 'saved');
  expect(reward).toBeCloseTo(rewardOfBlank, 3);
  expect(norm).toBeGreaterThan(0);
});

it('--reward-decoder FOLDER trains on what a tiny decoder makes', async () => {
  const { reward_mean: reward, grad_norm: norm } = await train(embeddedDecoder.path, 'tiny');
  expect(printed.stderr).toContain(`The reward judges what the decoder ${embeddedDecoder.path} makes of latents;`);
  expect(norm).toBeGreaterThan(0);
  expect(Math.abs(reward - own)).toBeGreaterThan(1e-4);
});
