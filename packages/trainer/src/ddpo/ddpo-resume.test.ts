// What a run of DDPO saves, and how it goes on.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { trainedValues } from '../__fixtures__/tiny-run.js';
import { out, pipeline, tinySuite } from '../__fixtures__/tiny-suite.js';
import { DDPOTrainer, type DDPOTrainerOptions } from './trainer.js';

tinySuite();

const shape = { height: 16, width: 16, sample_num_steps: 2, sample_guidance_scale: 1 };
const config = { ...shape, train_learning_rate: 0.01, per_prompt_stat_tracking: true, reward_retries: 0 };

/** A reward that depends on the images and fails in the calls that `fail` names, from 1. */
function reward(fail: Readonly<Record<number, () => number>> = {}): DDPOTrainerOptions<undefined>['rewardFunction'] {
  let calls = 0;
  return async (images) => {
    const failure = fail[++calls]?.();
    const values = await images.data<'float32'>();
    return [failure ?? values.reduce((sum, value) => sum + value)];
  };
}

/** Trains into `out`. @returns the trained values, the epochs that were run, and warnings */
async function run(more: object = {}, rewardFunction = reward(), signal?: AbortSignal) {
  const warnings: string[] = [];
  const trainer = new DDPOTrainer({
    pipeline,
    promptFunction: (generator) => ['cat', 'dog'][generator.randint(0, 2, 1)[0]!]!,
    rewardFunction,
    logger: { info: () => {}, warn: (text) => void warnings.push(text) },
    config: { ...config, output_dir: out, ...more },
  });
  const epochs: number[] = [];
  try {
    for await (const { epoch } of trainer.train({ signal })) epochs.push(epoch);
    return { values: trainedValues(trainer.pipeline), epochs, warnings };
  } finally {
    trainer.dispose();
  }
}

const checkpoints = async () => (await readdir(join(out, 'checkpoints'))).sort();
const timeOut = () => {
  throw new Error('fetch failed: ETIMEDOUT');
};

describe('a DDPO run', () => {
  it('resumes to the bit, with a checkpoint every save_freq epochs and at most num_checkpoint_limit', async () => {
    const straight = await run({ num_epochs: 3, output_dir: '' });
    await run({ num_epochs: 2, num_checkpoint_limit: 1 });
    expect(await checkpoints()).toEqual(['checkpoint_4']); // two optimizer steps an epoch
    const resumed = await run({ num_epochs: 3, resume_from: out });
    expect(resumed).toEqual({ values: straight.values, epochs: [2], warnings: [] });
    expect((await run({ num_epochs: 3, resume_from: out })).warnings).toEqual([
      expect.stringMatching(/^Nothing to train: the checkpoint has 3 epochs, num_epochs is 3/) as string,
    ]);
    const lines = (await readFile(join(out, 'metrics.jsonl'), 'utf8')).trim().split('\n');
    expect(lines.map((line) => (JSON.parse(line) as { epoch: number }).epoch)).toEqual([0, 1, 2]);
  });

  it('loses no complete epoch when a reward throws or it is stopped, whatever save_freq is', async () => {
    const straight = await run({ num_epochs: 3, output_dir: '' });
    await expect(run({ num_epochs: 3, save_freq: 9 }, reward({ 6: timeOut }))).rejects.toThrow('ETIMEDOUT');
    expect(await checkpoints()).toEqual(['checkpoint_4']);
    const stop = new AbortController();
    const stopping = reward({ 2: () => (stop.abort(), 1) });
    expect((await run({ num_epochs: 3, resume_from: out }, stopping, stop.signal)).epochs).toEqual([]);
    expect((await run({ num_epochs: 3, resume_from: out })).values).toEqual(straight.values);
  });

  it('draws an epoch again whose reward is not a number, with on_nonfinite skip', async () => {
    const nan = () => NaN;
    await expect(run({ num_epochs: 1, output_dir: '' }, reward({ 1: nan }))).rejects.toThrow(/is NaN/);
    const skipping = { num_epochs: 1, output_dir: '', on_nonfinite: 'skip' };
    const { epochs, warnings } = await run(skipping, reward({ 1: nan, 3: nan }));
    expect(epochs).toEqual([0]);
    expect(warnings).toHaveLength(2);
    expect(warnings[1]).toMatch(/is NaN.* The epoch is drawn again \(2 of at most 9 times\)\.$/);
  });

  it('is not resumed by another algorithm, nor with another adapter', async () => {
    await run({ num_epochs: 1 });
    await expect(run({ num_epochs: 2, resume_from: out, lora_alpha: 8 })).rejects.toThrow(
      /lora_alpha got 8, expected 4/,
    );
  });
});
