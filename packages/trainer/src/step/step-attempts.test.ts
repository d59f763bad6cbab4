import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { memory, mul, type Tensor4D } from '@tensorflow/tfjs-core';
import { trainable } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { beforeEach, describe, expect, it } from 'vitest';
import { brightness, collect, tinyTrainer } from '../__fixtures__/tiny-run.js';
import { out, pipeline, tinySuite } from '../__fixtures__/tiny-suite.js';
import type { AlignPropConfigInput } from '../config/config.js';
import { NonFiniteError } from '../optim/non-finite.js';
import { skipLimit } from './step-attempts.js';

tinySuite();

let warnings: string[];
beforeEach(() => void (warnings = []));

const weights = (of: StableDiffusionPipeline) =>
  Object.values(trainable(of.unet.params)).flatMap((x) => [...x.dataSync()]);

/** A run whose reward is NaN for images of 'bad', a prompt that is drawn with the given probability. */
function nanTrainer(chance: number, config: AlignPropConfigInput) {
  const drawn: string[] = [];
  const trainer = tinyTrainer({
    pipeline,
    promptFunction: (generator) => {
      drawn.push(generator.rand(1)[0]! < chance ? 'bad' : 'cat');
      return drawn.at(-1)!;
    },
    rewardFunction: (images: Tensor4D, prompts) => mul(brightness(images, [], []), prompts.includes('bad') ? NaN : 1),
    logger: { info: () => {}, warn: (message) => void warnings.push(message) },
    config: {
      sample_num_steps: 1,
      truncated_backprop_timestep: 0,
      train_batch_size: 1,
      ema_decay: 0.9,
      on_nonfinite: 'skip',
      ...config,
    },
  });
  return { trainer, drawn };
}

async function finish({ trainer, drawn }: ReturnType<typeof nanTrainer>) {
  const metrics = await collect(trainer);
  const trained = weights(trainer.pipeline);
  trainer.dispose();
  return { metrics, drawn, trained };
}

describe("on_nonfinite: 'skip'", () => {
  it('draws the step again with a warning, counts the draws, and resumes bit for bit', async () => {
    const straight = await finish(nanTrainer(0.5, { num_epochs: 6 }));
    const bad = straight.drawn.filter((prompt) => prompt === 'bad');
    expect(bad.length).toBeGreaterThan(1);
    expect(straight.drawn.length - bad.length).toBe(6);
    expect(straight.metrics.map(({ globalStep }) => globalStep)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(straight.metrics.reduce((sum, { skipped }) => sum + skipped!, 0)).toBe(bad.length);
    expect(warnings).toHaveLength(bad.length);
    expect(warnings[0]).toMatch(
      new RegExp(
        "^AlignPropTrainer: at step \\d the reward of image 0 \\('bad'\\) is NaN\\. " +
          'The images are finite, so rewardFunction computed it\\. No weight was changed\\. ' +
          'Drawn again \\(1 of at most 9 times\\)\\.$',
      ),
    );
    const first = await finish(nanTrainer(0.5, { num_epochs: 3, output_dir: out }));
    const second = await finish(nanTrainer(0.5, { num_epochs: 6, output_dir: out, resume_from: out }));
    expect([...first.metrics, ...second.metrics]).toEqual(straight.metrics);
    expect([...first.drawn, ...second.drawn]).toEqual(straight.drawn);
    expect(second.trained).toEqual(straight.trained);
    const rows = (await readFile(join(out, 'metrics.jsonl'), 'utf8'))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { skipped: number });
    expect(rows.map(({ skipped }) => skipped)).toEqual(straight.metrics.map(({ skipped }) => skipped));
  });

  it('throws after ten in a row, with everything as before the step, and leaks nothing', async () => {
    await finish(nanTrainer(0, { num_epochs: 1 })); // lets the engine read the weights, which it caches
    const tensors = memory().numTensors;
    const run = nanTrainer(1, { num_epochs: 2 });
    const before = weights(run.trainer.pipeline);
    const error: unknown = await collect(run.trainer).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(NonFiniteError);
    expect((error as Error).message).toMatch(
      /at step 0 the reward of image 0 \('bad'\) is NaN.* 10 times in a row: lower the learning rate/,
    );
    expect(run.drawn).toHaveLength(skipLimit);
    expect(warnings).toHaveLength(skipLimit - 1);
    expect(weights(run.trainer.pipeline)).toEqual(before);
    run.trainer.dispose();
    await Promise.resolve();
    expect(memory().numTensors).toBe(tensors);
  });
});

describe("on_nonfinite: 'stop'", () => {
  it('writes a checkpoint of the step before, from which the same error comes again, or a run that skips', async () => {
    const stopping = nanTrainer(0.5, { num_epochs: 6, output_dir: out, save_freq: 100, on_nonfinite: 'stop', seed: 3 });
    await expect(finish(stopping)).rejects.toThrow(NonFiniteError);
    stopping.trainer.dispose();
    const good = stopping.drawn.length - 1;
    expect(good).toBeGreaterThan(0);
    expect(await readdir(join(out, 'checkpoints'))).toEqual([`checkpoint_${good}`]);
    const again = nanTrainer(0.5, { num_epochs: 6, output_dir: out, resume_from: out, on_nonfinite: 'stop', seed: 3 });
    await expect(finish(again)).rejects.toThrow(`at step ${good} `);
    again.trainer.dispose();
    const skipping = await finish(nanTrainer(0.5, { num_epochs: 6, output_dir: out, resume_from: out, seed: 3 }));
    expect(skipping.metrics).toHaveLength(6 - good);
    expect(skipping.metrics[0]!.skipped).toBeGreaterThan(0);
  });
});
