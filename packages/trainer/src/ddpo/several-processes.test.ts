// DDPO with several ranks, simulated in one process.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { mean, mul } from '@tensorflow/tfjs-core';
import { normalised, weightedSum, type RewardFunction } from '@alignprop/rewards';
import { describe, expect, it } from 'vitest';
import { drawnByIndex } from '../__fixtures__/drawn-by-index.js';
import { lockStep } from '../__fixtures__/lock-step.js';
import { brightness, trainedValues } from '../__fixtures__/tiny-run.js';
import { out, pipeline, tinySuite } from '../__fixtures__/tiny-suite.js';
import { singleProcess, type Collective } from '../collective/collective.js';
import type { DDPOConfigInput } from './ddpo-config.js';
import { DDPOTrainer, type DDPOMetrics, type DDPOTrainerOptions } from './trainer.js';

tinySuite();

type Options = Partial<DDPOTrainerOptions<undefined>>;

const config: DDPOConfigInput = {
  ...{ height: 16, width: 16, sample_num_steps: 2, sample_guidance_scale: 1, num_epochs: 2 },
  ...{ reward_retries: 0, train_learning_rate: 0.01 },
};

interface RankResult {
  metrics: Omit<DDPOMetrics, 'seconds'>[];
  weights: number[];
  error?: Error;
}

async function trainRank(collective: Collective, options: Options, signal?: AbortSignal): Promise<RankResult> {
  const result: RankResult = { metrics: [], weights: [] };
  const trainer = new DDPOTrainer({
    pipeline,
    promptFunction: (generator) => ['cat', 'dog', 'horse'][generator.randint(0, 3, 1)[0]!]!,
    rewardFunction: brightness as RewardFunction<undefined>,
    ...options,
    config: { ...config, ...options.config },
    collective,
  });
  try {
    for await (const { seconds: _, ...metrics } of trainer.train({ signal })) result.metrics.push(metrics);
  } catch (error) {
    result.error = error as Error;
  }
  result.weights = trainedValues(trainer.pipeline);
  trainer.dispose();
  return result;
}

/** Trains two ranks. @param optionsOf returns the options of a rank */
async function trainTwo(optionsOf: (rank: number) => Options, signals: readonly (AbortSignal | undefined)[] = []) {
  const { ranks, aborted } = lockStep(2);
  const results = await Promise.all(ranks.map((one, i) => trainRank(one, optionsOf(i), signals[i])));
  return { ranks: results as [RankResult, RankResult], aborted };
}

const difference = (a: readonly number[], b: readonly number[]): number =>
  Math.hypot(...a.map((x, i) => x - b[i]!)) / Math.hypot(...b);

describe('several processes of DDPO', () => {
  it('equal one process with all of their images: weights, metrics and advantages per prompt', async () => {
    // One optimizer step an epoch: the images of two processes come in another order than those of one.
    const shared = { train_adam_epsilon: 1e-4, per_prompt_stat_tracking: true, train_gradient_accumulation_steps: 2 };
    const sized = (size: number) => ({
      ...shared,
      sample_batch_size: size,
      train_batch_size: size,
      per_prompt_stat_tracking_min_count: 2,
      negative_prompts: ['grey', 'red', 'dark'],
      sample_guidance_scale: 3,
    });
    const rewardFunction = () =>
      weightedSum({ bright: [normalised(brightness), 1], raw: [brightness, 0.1] }) as RewardFunction<undefined>;
    const { ranks } = await trainTwo((rank) => ({
      ...drawnByIndex(pipeline, 2, { rank, size: 2 }),
      rewardFunction: rewardFunction(),
      config: sized(2),
    }));
    const one = await trainRank(singleProcess, {
      ...drawnByIndex(pipeline, 4),
      rewardFunction: rewardFunction(),
      config: sized(4),
    });
    const alone = await trainRank(singleProcess, {
      ...drawnByIndex(pipeline, 2),
      rewardFunction: rewardFunction(),
      config: sized(2),
    });
    expect([...ranks, one].map(({ error }) => error)).toEqual([undefined, undefined, undefined]);
    expect(ranks[1]).toEqual(ranks[0]);
    expect(difference(ranks[0].weights, one.weights)).toBeLessThan(1e-4);
    expect(difference(alone.weights, one.weights)).toBeGreaterThan(1e-2); // half of the images train something else
    for (const [i, metrics] of one.metrics.entries()) {
      const { rewardTerms, ...rest } = metrics;
      const flat = { ...rest, ...rewardTerms };
      for (const [name, value] of Object.entries({ ...ranks[0].metrics[i]!, ...ranks[0].metrics[i]!.rewardTerms }))
        if (typeof value === 'number') expect(value, name).toBeCloseTo(flat[name as 'loss'] as number, 3);
    }
  });

  it('write and show on rank 0 alone, draw from different seeds, and resume to the bit', async () => {
    const calls: string[][] = [[], []];
    const prompts: string[][] = [[], []];
    const options =
      (more: DDPOConfigInput) =>
      (rank: number): Options => ({
        config: { output_dir: out, eval_freq: 1, ema_decay: 0.9, save_freq: 2, ...more },
        evaluation: { prompts: ['snail'] },
        promptFunction: (generator) => {
          const prompt = `${generator.randint(0, 1000, 1)[0]}`;
          prompts[rank]!.push(prompt);
          return prompt;
        },
        logger: { info: (text) => void calls[rank]!.push(text), warn: (text) => void calls[rank]!.push(text) },
        imageSamplesHook: () => void calls[rank]!.push('images'),
      });
    const straight = await trainTwo(options({ num_epochs: 3, output_dir: '' }));
    expect(calls[1]).toEqual([]);
    expect(calls[0]).toContain('2 processes: 2 × 1 × 2 batches = 4 images an epoch.');
    expect(calls[0]!.filter((text) => text === 'images')).toHaveLength(3);
    expect(prompts[0]).not.toEqual(prompts[1]);
    const first = await trainTwo(options({ num_epochs: 2 }));
    expect((await readdir(out)).sort()).toEqual([
      ...['best', 'checkpoints', 'config.json', 'evaluations.jsonl', 'metrics.jsonl'],
      ...['pytorch_lora_weights.safetensors', 'run.json'],
    ]);
    const second = await trainTwo(options({ num_epochs: 3, resume_from: out }));
    for (const i of [0, 1] as const) {
      expect([...first.ranks[i].metrics, ...second.ranks[i].metrics]).toEqual(straight.ranks[i].metrics);
      expect(second.ranks[i].weights).toEqual(straight.ranks[0].weights);
    }
    const lines = async (name: string) => (await readFile(join(out, name), 'utf8')).trim().split('\n').length;
    expect([await lines('metrics.jsonl'), await lines('evaluations.jsonl')]).toEqual([3, 4]);
  });

  it('train on what is left where a reward fails on one, and stop together where it may not', async () => {
    const failing =
      (on_reward_error: 'stop' | 'skip') =>
      (rank: number): Options => {
        let calls = 0;
        return {
          config: { on_reward_error, output_dir: on_reward_error === 'stop' ? out : '', save_freq: 9 },
          rewardFunction: (images) => {
            if (rank === 1 && ++calls > 2) throw new Error('out of paper'); // all images of its second epoch
            return mul(mean(images, [1, 2, 3]), 10);
          },
        };
      };
    const skipping = await trainTwo(failing('skip'));
    expect(skipping.ranks.map(({ error }) => error)).toEqual([undefined, undefined]);
    expect(skipping.ranks[0].metrics.map(({ failedImages }) => failedImages)).toEqual([0, 2]);
    expect(skipping.ranks[1]).toEqual(skipping.ranks[0]);

    const stopping = await trainTwo(failing('stop'));
    expect(stopping.ranks.map(({ error }) => error?.message)).toEqual([
      'on rank 1 rewardFunction: out of paper',
      'rewardFunction: out of paper',
    ]);
    expect(stopping.aborted).toEqual([]);
    expect(await readdir(join(out, 'checkpoints'))).toEqual(['checkpoint_2']);
  });

  it('end after the same epoch when one is aborted, and are refused with different configurations', async () => {
    const stop = new AbortController();
    let calls = 0;
    const { ranks, aborted } = await trainTwo(
      (rank) => ({
        config: { num_epochs: 9 },
        promptFunction: () => (rank === 1 && ++calls === 3 ? (stop.abort(new Error('stop')), 'cat') : 'cat'),
      }),
      [undefined, stop.signal],
    );
    expect(ranks.map(({ metrics, error }) => [metrics.length, error])).toEqual([
      [1, undefined],
      [1, undefined],
    ]);
    expect([ranks[1].weights, aborted]).toEqual([ranks[0].weights, []]);
    const different = await trainTwo((rank) => ({ config: { seed: rank } }));
    for (const { error } of different.ranks)
      expect(error?.message).toMatch(/^Collective: seed got 0 on rank 0, 1 on rank 1/);
  });
});
