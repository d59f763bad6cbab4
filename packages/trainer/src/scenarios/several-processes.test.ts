// Training with several ranks, simulated in one process. open-mpi.test.ts runs real ones.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { mul } from '@tensorflow/tfjs-core';
import { normalised, weightedSum, type DetailedReward, type RewardFunction } from '@alignprop/rewards';
import { describe, expect, it } from 'vitest';
import { checkCollective } from '../__fixtures__/collective-contract.js';
import { drawnByIndex, undrawn } from '../__fixtures__/drawn-by-index.js';
import { lockStep } from '../__fixtures__/lock-step.js';
import { brightness, oneStepConfig, tinyTrainer, trainedValues } from '../__fixtures__/tiny-run.js';
import { out, pipeline, tinySuite } from '../__fixtures__/tiny-suite.js';
import { singleProcess, type Collective } from '../collective/collective.js';
import type { StepMetrics } from '../trackers/metrics.js';
import type { AlignPropTrainer, AlignPropTrainerOptions } from '../trainer.js';

tinySuite();

type Options = Partial<AlignPropTrainerOptions<undefined>>;
/** How the training of a rank ended. */
interface RankResult {
  metrics: Omit<StepMetrics, 'seconds'>[];
  weights: number[];
  error?: Error;
}

/** Trains one rank until it ends or throws. @param until leaves the loop after this many steps */
async function trainRank(
  collective: Collective,
  options: Options,
  signal?: AbortSignal,
  until = Infinity,
): Promise<RankResult> {
  const metrics: RankResult['metrics'] = [];
  let trainer: AlignPropTrainer | undefined;
  let error: Error | undefined;
  try {
    trainer = tinyTrainer({ pipeline, ...options, collective });
    for await (const { seconds: _, ...step } of trainer.train({ signal })) {
      metrics.push(step);
      if (metrics.length === until) break;
    }
  } catch (caught) {
    error = caught as Error;
  }
  const result = { metrics, weights: trainer ? trainedValues(trainer.pipeline) : [], ...(error && { error }) };
  trainer?.dispose();
  return result;
}

/** Trains two ranks. @param optionsOf returns the options of a rank */
async function trainTwo(
  optionsOf: (rank: number) => Options,
  signals: readonly (AbortSignal | undefined)[] = [],
  until: readonly number[] = [],
): Promise<{ ranks: readonly [RankResult, RankResult]; aborted: ReturnType<typeof lockStep>['aborted'] }> {
  const { ranks, aborted } = lockStep(2);
  const results = await Promise.all(
    ranks.map((collective, i) => trainRank(collective, optionsOf(i), signals[i], until[i])),
  );
  return { ranks: results as [RankResult, RankResult], aborted };
}

const relativeDifference = (a: readonly number[], b: readonly number[]): number =>
  Math.sqrt(a.reduce((sum, x, i) => sum + (x - b[i]!) ** 2, 0) / b.reduce((sum, x) => sum + x * x, 0));

describe('Collective', () => {
  it('keeps its contract for a single process', () => checkCollective(singleProcess));
  it('keeps its contract for the simulated ranks of these tests', async () => {
    await Promise.all(lockStep(3).ranks.map(checkCollective));
  });
});

describe('several processes', () => {
  it('equal one process with all of their batches: weights, metrics and the state of the reward', async () => {
    const config = {
      ...undrawn,
      num_epochs: 2,
      train_gradient_accumulation_steps: 2,
      kl_weight: 3,
      negative_prompts: ['grey', 'red', 'dark'],
    };
    const learning = () =>
      weightedSum({ bright: [normalised(brightness), 1], raw: [brightness, 0.1] }) as RewardFunction<undefined>;
    const rewards = [learning(), learning(), learning()] as const;
    const { ranks } = await trainTwo((i) => ({
      ...drawnByIndex(pipeline, 2, { rank: i, size: 2 }),
      rewardFunction: rewards[i]!,
      config: { ...config, train_batch_size: 2 },
    }));
    const one = await trainRank(singleProcess, {
      ...drawnByIndex(pipeline, 4),
      rewardFunction: rewards[2],
      config: { ...config, train_batch_size: 4 },
    });
    expect(ranks.map(({ error }) => error)).toEqual([undefined, undefined]);
    expect(ranks[1]).toEqual(ranks[0]);
    expect(relativeDifference(ranks[0].weights, one.weights)).toBeLessThan(1e-6);
    for (const [i, step] of one.metrics.entries())
      expect(flat(ranks[0].metrics[i]!)).toEqual(
        flat(step).map(([name, value]) => [name, expect.closeTo(value, 3) as number]),
      ); // 3 digits: the reward is divided by a small deviation
    expect(one.metrics[1]!.kl).toBeGreaterThan(0);
    const [first, second, all] = rewards.map(
      (reward) => (reward as DetailedReward).memory!.state() as { parts: { bright: { mean: number; count: number } } },
    );
    expect(second).toEqual(first);
    expect(first!.parts.bright.count).toBe(16);
    expect(first!.parts.bright.mean).toBeCloseTo(all!.parts.bright.mean, 5);
  });

  it('start from the same adapter, and draw from different seeds', async () => {
    const prompts: string[][] = [[], []];
    const { ranks } = await trainTwo((i) => ({
      config: { ...oneStepConfig, num_epochs: 4 },
      promptFunction: (generator) => `${prompts[i]!.push(`${generator.randint(0, 1000, 1)[0]}`)}`,
    }));
    expect(ranks[1]).toEqual(ranks[0]);
    expect(prompts[0]).not.toEqual(prompts[1]);
    const alone: string[] = []; // a run with the next seed, which rank 1 draws from
    await trainRank(singleProcess, {
      config: { ...oneStepConfig, num_epochs: 4, seed: 1 },
      promptFunction: (generator) => `${alone.push(`${generator.randint(0, 1000, 1)[0]}`)}`,
    });
    expect(prompts[1]).toEqual(alone);
  });

  it('write, log and evaluate on rank 0 alone, and resume bit for bit', async () => {
    const calls: string[][] = [[], []];
    const config = { ...oneStepConfig, output_dir: out, eval_freq: 2, ema_decay: 0.9, save_freq: 2 };
    const options =
      (more: object) =>
      (i: number): Options => ({
        config: { ...config, ...more },
        evaluation: { prompts: ['snail'] },
        logger: { info: (text) => void calls[i]!.push(text), warn: (text) => void calls[i]!.push(text) },
        imageSamplesHook: () => void calls[i]!.push('images'),
        trackers: [{ log: () => void calls[i]!.push('log'), close: () => void calls[i]!.push('close') }],
      });
    const straight = await trainTwo(options({ num_epochs: 4, output_dir: '' }));
    expect(calls[1]).toEqual(['close']);
    expect(calls[0]).toContain('2 processes: 2 × 1 = 2 images a step.');
    const first = await trainTwo(options({ num_epochs: 2 }));
    expect((await readdir(out)).sort()).toEqual([
      'best',
      'checkpoints',
      'config.json',
      'evaluations.jsonl',
      'metrics.jsonl',
      'pytorch_lora_weights.safetensors',
      'run.json',
    ]);
    const second = await trainTwo(options({ num_epochs: 4, resume_from: out }));
    for (const i of [0, 1] as const) {
      expect([...first.ranks[i].metrics, ...second.ranks[i].metrics]).toEqual(straight.ranks[i].metrics);
      expect(second.ranks[i].weights).toEqual(straight.ranks[0].weights);
    }
    expect((await readFile(join(out, 'metrics.jsonl'), 'utf8')).trim().split('\n')).toHaveLength(4);

    calls[0]!.length = 0;
    const alone = await trainRank(singleProcess, options({ num_epochs: 5, resume_from: out })(0));
    expect(alone.metrics).toHaveLength(1);
    expect(calls[0]!.join()).toMatch(
      /written by 2 processes, it is resumed by 1 process: a step has another number of images/,
    );
    const three = lockStep(3); // one more than has written a checkpoint
    const more = await Promise.all(
      three.ranks.map((collective, i) =>
        trainRank(
          collective,
          i === 0
            ? options({ num_epochs: 6, resume_from: out })(0)
            : { ...options({ num_epochs: 6, resume_from: out })(1) },
        ),
      ),
    );
    expect(more.map(({ metrics }) => metrics.length)).toEqual([1, 1, 1]);
    expect(more[2]).toEqual(more[0]);
  });

  it('stop early after the same step', async () => {
    const { ranks } = await trainTwo(() => ({
      config: { ...oneStepConfig, num_epochs: 9, eval_freq: 1, early_stopping_patience: 2 },
      evaluation: { prompts: ['snail'], rewardFunction: (images) => mul(brightness(images, [], []), 0) as never },
    }));
    expect(ranks.map(({ metrics, error }) => [metrics.length, error])).toEqual([
      [2, undefined],
      [2, undefined],
    ]);
  });

  it('end after the same step when one is aborted, with a checkpoint of rank 0', async () => {
    const controller = new AbortController();
    let calls = 0;
    const { ranks, aborted } = await trainTwo(
      (i) => ({
        config: { ...oneStepConfig, num_epochs: 9, output_dir: out, save_freq: 9 },
        promptFunction: () => {
          if (i === 1 && ++calls === 3) controller.abort(new Error('stop'));
          return 'cat';
        },
      }),
      [undefined, controller.signal],
    );
    expect(ranks.map(({ metrics, error }) => [metrics.length, error])).toEqual([
      [2, undefined],
      [2, undefined],
    ]);
    expect(ranks[1].weights).toEqual(ranks[0].weights);
    expect(aborted).toEqual([]);
    expect(await readdir(join(out, 'checkpoints'))).toEqual(['checkpoint_2']);
  });

  it.each(['stop', 'skip'] as const)('%s together when a value is not finite on one of them', async (on_nonfinite) => {
    let calls = 0;
    const { ranks, aborted } = await trainTwo((i) => ({
      config: { ...oneStepConfig, num_epochs: 2, on_nonfinite },
      rewardFunction: (images) => mul(brightness(images, [], []), i === 1 && ++calls === 2 ? NaN : 1),
    }));
    expect(aborted).toEqual([]);
    expect(ranks[1].weights).toEqual(ranks[0].weights);
    for (const { metrics, error } of ranks) {
      if (on_nonfinite === 'skip') expect([error, metrics.map(({ skipped }) => skipped)]).toEqual([undefined, [0, 1]]);
      else
        expect(error?.message).toMatch(
          /^AlignPropTrainer: at step 1 on rank 1 the reward of image 0 \('.*'\) is NaN\..*No weight was changed\.$/,
        );
    }
  });

  it('end after the same step when one of them throws, with its error and a checkpoint of rank 0', async () => {
    const cause = new Error('out of paper');
    let calls = 0;
    const { ranks, aborted } = await trainTwo((i) => ({
      config: { ...oneStepConfig, num_epochs: 9, output_dir: out, save_freq: 9 },
      rewardFunction: (images) => {
        if (i === 1 && ++calls === 3) throw cause;
        return brightness(images, [], []);
      },
    }));
    expect(aborted).toEqual([]);
    expect(ranks[0].error).toMatchObject({ name: 'RankError', message: 'rank 1: rewardFunction: out of paper' });
    expect(ranks[0].error?.stack).toMatch(/^RankError: rank 1: Error: rewardFunction: out of paper\n +at /);
    expect(ranks[1].error).toMatchObject({ message: 'rewardFunction: out of paper', cause });
    expect(ranks.map(({ metrics }) => metrics.length)).toEqual([2, 2]);
    expect(await readdir(join(out, 'checkpoints'))).toEqual(['checkpoint_2']);
  });

  it('end before the first step where rank 0 cannot write', async () => {
    const { ranks, aborted } = await trainTwo(() => ({
      config: { ...oneStepConfig, num_epochs: 1, output_dir: '/dev/null/run' },
    }));
    expect(aborted).toEqual([]);
    for (const { error } of ranks) expect(error?.message).toMatch(/^rank 0: .*cannot write to \/dev\/null\/run/);
  });

  it('refuse different configurations, and leaving the loop after different steps', async () => {
    const different = await trainTwo((i) => ({ config: { ...oneStepConfig, seed: i } }));
    for (const { error } of different.ranks)
      expect(error?.message).toBe(
        'Collective: seed got 0 on rank 0, 1 on rank 1, expected the same on all ranks. ' +
          'Give all processes the same options, files and package versions.',
      );
    expect(different.aborted).toEqual([]);
    const apart = await trainTwo(() => ({ config: { ...oneStepConfig, num_epochs: 3, output_dir: out } }), [], [1, 2]);
    for (const { error } of apart.ranks)
      expect(error?.message).toBe(
        'Collective: got the end after 1 steps on rank 0, step 1 on rank 1, expected all ranks at one place. ' +
          'Leave the training loop, or save checkpoints, on all ranks alike.',
      );
    expect(apart.aborted).toEqual([]);
  });
});

/** The metrics by name, the terms of the reward included. */
const flat = ({ rewardTerms, ...rest }: RankResult['metrics'][number]): readonly (readonly [string, number])[] =>
  Object.entries({ ...rest, ...rewardTerms }).filter((entry): entry is [string, number] => entry[1] !== undefined);
