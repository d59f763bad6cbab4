import { memory } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { jpegCompressibility } from '@alignprop/rewards';
import { tinyPipeline } from '../__fixtures__/tiny-run.js';
import { parseAlignPropConfig, type AlignPropConfigInput } from '../config/config.js';
import type { Dataset } from '../data/examples.js';
import { dryRun } from './dry-run.js';

let pipeline: StableDiffusionPipeline;
beforeAll(async () => {
  await useBackend('cpu');
  pipeline = (await tinyPipeline()).with({ engine: new TfjsEngine() });
});

const attached = { sample_num_steps: 4, truncated_backprop_rand: false, truncated_backprop_timestep: 2 };
const ask = (config: AlignPropConfigInput, maxMemory = 2e9, dataset?: Dataset) =>
  dryRun({
    dataset,
    config: parseAlignPropConfig({ ...attached, ...config }),
    pipeline,
    rewardFunction: jpegCompressibility(),
    engine: { engine: 'onnxruntime', maxMemory },
  });

describe('dryRun', () => {
  it('counts steps with saved activations, images and parameters, and leaks nothing', async () => {
    await ask({}); // creates layouts and constants that are cached
    const before = memory().numTensors;
    const one = await ask({ train_batch_size: 2, train_gradient_accumulation_steps: 3 });
    const all = await ask({ train_batch_size: 2, truncated_backprop_timestep: 0 });
    expect(memory().numTensors).toBe(before);
    expect([one.attachProbabilities, one.mostAttached, one.effectiveBatch]).toEqual([[0, 0, 1, 1], 2, 6]);
    expect([all.attachProbabilities, all.mostAttached, all.effectiveBatch]).toEqual([[1, 1, 1, 1], 4, 2]);
    expect(all.memory.kept.UNet).toBe(2 * one.memory.kept.UNet!);
    expect(all.memory.kept.decoder).toBe(one.memory.kept.decoder);
    expect(one.trainableParameters).toBeGreaterThan(0);
    expect(one.optimizer).toBeGreaterThan(20 * one.trainableParameters);
  });

  it('simulates the draw of this seed that attaches the most steps', async () => {
    const { mostAttached, attachProbabilities } = await ask({
      truncated_backprop_rand: true,
      truncated_rand_backprop_minmax: [0, 4],
      num_epochs: 50,
    });
    expect(mostAttached).toBe(4); // two of fifty draws attach no step or all; with this seed one does
    expect(attachProbabilities[3]).toBeCloseTo(0.8 / (1 - 0.8 * 0.6 * 0.4 * 0.2), 12);
  });

  it('saves fewer activations without memory for them, and counts penalties, averages and whole UNets', async () => {
    const plain = await ask({ truncated_backprop_timestep: 0 });
    const short = await ask({ truncated_backprop_timestep: 0 }, 0);
    expect(short.memory.kept.UNet ?? 0).toBeLessThan(plain.memory.kept.UNet!);
    expect((await ask({ kl_weight: 1 })).memory.sessions).toBeGreaterThan(plain.memory.sessions);
    expect((await ask({ ema_decay: 0.9 })).optimizer - plain.optimizer).toBe(4 * plain.trainableParameters);
    const data = [{ caption: 'a', image: { height: 64, width: 64, data: new Uint8Array(64 * 64 * 3) } }];
    const withData = await ask({ data_weight: 1 }, 2e9, data);
    expect(withData.memory.sessions).toBeGreaterThan(plain.memory.sessions);
    const whole = await ask({ use_lora: false });
    expect(whole.trainableParameters).toBeGreaterThan(10 * plain.trainableParameters);
  });
});
