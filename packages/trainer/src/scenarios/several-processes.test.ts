// Several ranks in one process, in lock step: what they do together, without MPI. See open-mpi.test.ts for real ones.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { mul } from '@tensorflow/tfjs-core';
import { trainable } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { normalised, weightedSum, type DetailedReward, type RewardFunction } from '@alignprop/rewards';
import { describe, expect, it } from 'vitest';
import { checkCollective } from '../__fixtures__/collective-contract.js';
import { drawnByIndex, undrawn } from '../__fixtures__/drawn-by-index.js';
import { lockStep } from '../__fixtures__/lock-step.js';
import { brightness, tinyTrainer } from '../__fixtures__/tiny-run.js';
import { out, pipeline } from '../__fixtures__/tiny-suite.js';
import { singleProcess, type Collective } from '../collective/collective.js';
import type { StepMetrics } from '../trackers/metrics.js';
import type { AlignPropTrainer, AlignPropTrainerOptions } from '../trainer.js';

const quick = { sample_num_steps: 1, truncated_backprop_timestep: 0, train_batch_size: 1 } as const;
const weights = (of: StableDiffusionPipeline): number[] =>
  Object.values(trainable(of.unet.params)).flatMap((x) => [...x.dataSync()]);

type Options = Partial<AlignPropTrainerOptions<undefined>>;
interface Ended {
  metrics: Omit<StepMetrics, 'seconds'>[];
  weights: number[];
  error?: Error;
}

/** Trains one rank to its end, whichever that is. @param until leaves the loop after so many steps */
async function rank(collective: Collective, options: Options, signal?: AbortSignal, until = Infinity): Promise<Ended> {
  const metrics: Ended['metrics'] = [];
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
  const ended = { metrics, weights: trainer ? weights(trainer.pipeline) : [], ...(error && { error }) };
  trainer?.dispose();
  return ended;
}

/** Trains two ranks. @param of the options of a rank */
async function both(
  of: (rank: number) => Options,
  signals: readonly (AbortSignal | undefined)[] = [],
  until: readonly number[] = [],
): Promise<{ ranks: readonly [Ended, Ended]; aborted: ReturnType<typeof lockStep>['aborted'] }> {
  const { ranks, aborted } = lockStep(2);
  const ended = await Promise.all(ranks.map((collective, i) => rank(collective, of(i), signals[i], until[i])));
  return { ranks: ended as [Ended, Ended], aborted };
}

const relativeDifference = (a: readonly number[], b: readonly number[]): number =>
  Math.sqrt(a.reduce((sum, x, i) => sum + (x - b[i]!) ** 2, 0) / b.reduce((sum, x) => sum + x * x, 0));

describe('Collective', () => {
  it('is one process by default', () => checkCollective(singleProcess));
  it('is what the tests here stand on, too', async () => {
    await Promise.all(lockStep(3).ranks.map(checkCollective));
  });
});

describe('several processes', () => {
  it('are one process with a batch of all of theirs: weights, rewards, deviations, terms, penalty, what the reward learns', async () => {
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
    const { ranks } = await both((i) => ({
      ...drawnByIndex(pipeline, 2, { rank: i, size: 2 }),
      rewardFunction: rewards[i]!,
      config: { ...config, train_batch_size: 2 },
    }));
    const one = await rank(singleProcess, {
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
      ); // the reward is divided by a small deviation
    expect(one.metrics[1]!.kl).toBeGreaterThan(0);
    const [first, second, all] = rewards.map(
      (reward) => (reward as DetailedReward).memory!.state() as { parts: { bright: { mean: number; count: number } } },
    );
    expect(second).toEqual(first);
    expect(first!.parts.bright.count).toBe(16);
    expect(first!.parts.bright.mean).toBeCloseTo(all!.parts.bright.mean, 5);
  });

  it('start from one adapter, and draw from seeds of their own', async () => {
    const seen: string[][] = [[], []];
    const { ranks } = await both((i) => ({
      config: { ...quick, num_epochs: 4 },
      promptFunction: (generator) => `${seen[i]!.push(`${generator.randint(0, 1000, 1)[0]}`)}`,
    }));
    expect(ranks[1]).toEqual(ranks[0]);
    expect(seen[0]).not.toEqual(seen[1]);
    const alone: string[] = []; // rank 1 draws what a run with the next seed draws
    await rank(singleProcess, {
      config: { ...quick, num_epochs: 4, seed: 1 },
      promptFunction: (generator) => `${alone.push(`${generator.randint(0, 1000, 1)[0]}`)}`,
    });
    expect(seen[1]).toEqual(alone);
  });

  it('let rank 0 alone write, log and judge, and go on to the bit', async () => {
    const told: string[][] = [[], []];
    const config = { ...quick, output_dir: out, eval_freq: 2, ema_decay: 0.9, save_freq: 2 };
    const options =
      (more: object) =>
      (i: number): Options => ({
        config: { ...config, ...more },
        evaluation: { prompts: ['snail'] },
        logger: { info: (text) => void told[i]!.push(text), warn: (text) => void told[i]!.push(text) },
        imageSamplesHook: () => void told[i]!.push('images'),
        trackers: [{ log: () => void told[i]!.push('log'), close: () => void told[i]!.push('close') }],
      });
    const straight = await both(options({ num_epochs: 4, output_dir: '' }));
    expect(told[1]).toEqual(['close']);
    expect(told[0]).toContain('2 processes: 2 × 1 = 2 images a step.');
    const first = await both(options({ num_epochs: 2 }));
    expect((await readdir(out)).sort()).toEqual([
      'best',
      'checkpoints',
      'config.json',
      'evaluations.jsonl',
      'metrics.jsonl',
      'pytorch_lora_weights.safetensors',
    ]);
    const second = await both(options({ num_epochs: 4, resume_from: out }));
    for (const i of [0, 1] as const) {
      expect([...first.ranks[i].metrics, ...second.ranks[i].metrics]).toEqual(straight.ranks[i].metrics);
      expect(second.ranks[i].weights).toEqual(straight.ranks[0].weights);
    }
    expect((await readFile(join(out, 'metrics.jsonl'), 'utf8')).trim().split('\n')).toHaveLength(4);

    told[0]!.length = 0;
    const alone = await rank(singleProcess, options({ num_epochs: 5, resume_from: out })(0));
    expect(alone.metrics).toHaveLength(1);
    expect(told[0]!.join()).toMatch(
      /written by 2 processes, it is resumed by 1 process: a step has another number of images/,
    );
    const three = lockStep(3); // one more than wrote any of the checkpoints
    const more = await Promise.all(
      three.ranks.map((collective, i) =>
        rank(
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

  it('stop early together', async () => {
    const { ranks } = await both(() => ({
      config: { ...quick, num_epochs: 9, eval_freq: 1, early_stopping_patience: 2 },
      evaluation: { prompts: ['snail'], rewardFunction: (images) => mul(brightness(images, [], []), 0) as never },
    }));
    expect(ranks.map(({ metrics, error }) => [metrics.length, error])).toEqual([
      [2, undefined],
      [2, undefined],
    ]);
  });

  it('end after the same step when one of them is told to stop, and rank 0 writes a checkpoint', async () => {
    const controller = new AbortController();
    let calls = 0;
    const { ranks, aborted } = await both(
      (i) => ({
        config: { ...quick, num_epochs: 9, output_dir: out, save_freq: 9 },
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

  it.each(['stop', 'skip'] as const)(
    'throw together what is not finite on one of them, and %s',
    async (on_nonfinite) => {
      let calls = 0;
      const { ranks, aborted } = await both((i) => ({
        config: { ...quick, num_epochs: 2, on_nonfinite },
        rewardFunction: (images) => mul(brightness(images, [], []), i === 1 && ++calls === 2 ? NaN : 1),
      }));
      expect(aborted).toEqual([]);
      expect(ranks[1].weights).toEqual(ranks[0].weights);
      for (const { metrics, error } of ranks) {
        if (on_nonfinite === 'skip')
          expect([error, metrics.map(({ skipped }) => skipped)]).toEqual([undefined, [0, 1]]);
        else
          expect(error?.message).toMatch(
            /^AlignPropTrainer: at step 1 on rank 1 the reward of image 0 \('.*'\) is NaN\..*No weight was changed\.$/,
          );
      }
    },
  );

  it('are aborted by an error on one of them, with its cause', async () => {
    const cause = new Error('out of paper');
    const { ranks, aborted } = await both((i) => ({
      config: { ...quick, num_epochs: 3, output_dir: out },
      rewardFunction: (images) => {
        if (i === 1) throw cause;
        return brightness(images, [], []);
      },
    }));
    expect(aborted[0]).toEqual({ rank: 1, cause });
    expect(ranks.map(({ error }) => error?.message)).toEqual(['another rank aborted', 'out of paper']);
  });

  it('are aborted where rank 0 cannot write', async () => {
    const { ranks, aborted } = await both(() => ({ config: { ...quick, num_epochs: 1, output_dir: '/dev/null/run' } }));
    expect(aborted[0]).toMatchObject({
      rank: 0,
      cause: { message: expect.stringContaining('cannot write to /dev/null/run') as string },
    });
    expect(ranks[1].error?.message).toBe('another rank aborted');
  });

  it('refuse to begin differently, or to go apart', async () => {
    const different = await both((i) => ({ config: { ...quick, seed: i } }));
    for (const { error } of different.ranks)
      expect(error?.message).toBe(
        'AlignPropTrainer: seed got 0 on rank 0 and 1 on rank 1, expected the same on all. Give all processes the same options and files.',
      );
    expect(different.aborted).toEqual([]);
    const apart = await both(() => ({ config: { ...quick, num_epochs: 3, output_dir: out } }), [], [1, 2]);
    for (const { error } of apart.ranks)
      expect(error?.message).toMatch(
        /^Collective: rank [01] is at (step 1|the end after 1 steps), rank [01] at (step 1|the end after 1 steps), expected all ranks at one place\./,
      );
  });
});

/** Metrics by name, those of the reward's terms included. */
const flat = ({ rewardTerms, ...rest }: Ended['metrics'][number]): readonly (readonly [string, number])[] =>
  Object.entries({ ...rest, ...rewardTerms }).filter((entry): entry is [string, number] => entry[1] !== undefined);
