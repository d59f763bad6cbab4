import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fill } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { loadLora, stateTensors } from '@alignprop/lora';
import type { RewardFunction } from '@alignprop/rewards';
import { collect, oneStepConfig, tinyTrainer, trainedValues } from '../__fixtures__/tiny-run.js';
import { out, pipeline, tinySuite } from '../__fixtures__/tiny-suite.js';
import type { AlignPropConfigInput } from '../config/config.js';
import { logEvaluationSamples } from '../trackers/log-samples.js';
import type { EvaluationMetrics } from '../trackers/metrics.js';
import type { AlignPropTrainerOptions } from '../trainer.js';

tinySuite();

const adapter = 'pytorch_lora_weights.safetensors';

/** All values of an adapter's file. */
async function fileWeights(path: string): Promise<number[]> {
  const tensors = stateTensors(await loadLora(path));
  const read = await Promise.all(
    Object.keys(tensors)
      .sort()
      .map(async (name) => [...(await (tensors[name] as { read(): Promise<Float32Array> }).read())]),
  );
  return read.flat();
}

/** Trains into `out`, and returns the number of steps, the evaluations and the trained values. */
async function run(config: AlignPropConfigInput, options: Partial<AlignPropTrainerOptions<undefined>> = {}) {
  const evaluations: EvaluationMetrics[] = [];
  const tracker = {
    log: () => {},
    logEvaluation: (metrics: EvaluationMetrics) => void evaluations.push(metrics),
    close: () => {},
  };
  const trainer = tinyTrainer({
    pipeline,
    ...options,
    trackers: [tracker],
    config: { ...oneStepConfig, output_dir: out, ...config },
  });
  const steps = await collect(trainer);
  const result = {
    steps: steps.length,
    evaluations,
    weights: trainedValues(trainer.pipeline),
    averaged: await trainer.averaged(async () => trainedValues(trainer.pipeline)),
  };
  trainer.dispose();
  return result;
}
const evaluation = { prompts: ['fox'] };

/** Evaluations with these mean rewards, one after the other: so small a model learns nothing that generalises. */
function scripted(...values: number[]) {
  const remaining = [...values];
  const rewardFunction: RewardFunction<undefined> = (images) => fill([images.shape[0]], remaining.shift()!);
  return { evaluation: { ...evaluation, rewardFunction } };
}

describe('ema_decay', () => {
  it('does not change training, resumes exactly, and is written with ema_export', async () => {
    const plain = await run({ num_epochs: 4, output_dir: '' });
    const straight = await run({ num_epochs: 4, ema_decay: 0.5, output_dir: '' });
    expect(straight.weights).toEqual(plain.weights);
    expect(straight.averaged).not.toEqual(plain.weights);
    await run({ num_epochs: 2, ema_decay: 0.5, ema_export: true });
    const resumed = await run({ num_epochs: 4, ema_decay: 0.5, ema_export: true, resume_from: out });
    expect(resumed.averaged).toEqual(straight.averaged);
    expect(resumed.weights).toEqual(straight.weights);
    const [final, checkpoint] = [
      await fileWeights(join(out, 'pytorch_lora_weights.safetensors')),
      await fileWeights(join(out, 'checkpoints/checkpoint_4/pytorch_lora_weights.safetensors')),
    ];
    expect(final.toSorted()).toEqual(resumed.averaged.toSorted());
    expect(checkpoint.toSorted()).toEqual(resumed.weights.toSorted());
  });

  it('starts from the weights of a checkpoint that has no average', async () => {
    await run({ num_epochs: 1 });
    const { averaged, weights: trained } = await run({ num_epochs: 1, ema_decay: 0.9, resume_from: out });
    expect(averaged).toEqual(trained);
  });
});

describe('eval_freq', () => {
  it('evaluates held-out prompts before training and every so many steps, and saves the best adapter', async () => {
    const { evaluations } = await run({ num_epochs: 5, eval_freq: 2, eval_images_per_prompt: 2 }, scripted(1, 3, 2));
    expect(evaluations).toMatchObject([
      { globalStep: 0, rewardMean: 1, rewardStd: 0, isBest: true, bestStep: 0 },
      { globalStep: 2, rewardMean: 3, isBest: true, bestStep: 2 },
      { globalStep: 4, rewardMean: 2, isBest: false, bestStep: 2 },
    ]);
    for (const { diversity } of evaluations) expect(diversity).toBeGreaterThan(0);
    const lines = (await readFile(join(out, 'evaluations.jsonl'), 'utf8'))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, number>);
    expect(lines).toMatchObject([
      { global_step: 0, eval_reward_mean: 1, eval_best_step: 0 },
      { global_step: 2, eval_reward_mean: 3 },
      { global_step: 4, eval_reward_mean: 2, eval_best_step: 2 },
    ]);
    expect(lines[0]).toHaveProperty('eval_diversity');
    expect(await fileWeights(join(out, 'best', adapter))).toEqual(
      await fileWeights(join(out, 'checkpoints/checkpoint_2', adapter)),
    );
  });

  it('shows up to 16 images of every evaluation, from the same noise, to a hook or to trackers', async () => {
    const shown: unknown[] = [];
    const prompts = Array.from({ length: 9 }, (_, i) => `fox ${i}`);
    const config: AlignPropConfigInput = { num_epochs: 1, eval_freq: 1, eval_images_per_prompt: 2, output_dir: '' };
    const trainer = tinyTrainer({
      pipeline,
      evaluation: { prompts },
      evaluationSamplesHook: async (samples, step, tracker) => {
        shown.push([step, samples.images.shape, samples.prompts.slice(0, 3), samples.rewards.shape]);
        await logEvaluationSamples(samples, step, tracker);
      },
      trackers: [
        {
          log: () => {},
          logEvaluationImages: (images, captions, step) => void shown.push([step, images.shape, captions.length]),
          close: () => {},
        },
      ],
      config: { ...oneStepConfig, ...config },
    });
    await collect(trainer);
    expect(trainer.best).toEqual({ step: expect.any(Number) as number, rewardMean: expect.any(Number) as number });
    trainer.dispose();
    const shape = [16, 16, 16, 3];
    expect(shown).toEqual(
      [0, 1].flatMap((step) => [
        [step, shape, ['fox 0', 'fox 0', 'fox 1'], [16]],
        [step, shape, 16],
      ]),
    );
  });

  it('evaluates the average of ema_decay', async () => {
    const config: AlignPropConfigInput = { num_epochs: 2, eval_freq: 2, ema_decay: 0.9, ema_export: true };
    const { evaluations } = await run(config, { evaluation });
    const last = await run({ ...config, ema_decay: 0, ema_export: false, overwrite_output_dir: true }, { evaluation });
    expect(last.evaluations[0]!.rewardMean).toBe(evaluations[0]!.rewardMean);
    expect(last.evaluations[1]!.rewardMean).not.toBe(evaluations[1]!.rewardMean);
  });

  it('does not change the training, and is refused without prompts', async () => {
    const plain = await run({ num_epochs: 2, output_dir: '' });
    expect(
      (await run({ num_epochs: 2, output_dir: '', eval_freq: 1, ema_decay: 0.9 }, { evaluation })).weights,
    ).toEqual(plain.weights);
    expect(() => tinyTrainer({ pipeline, config: { eval_freq: 1 } })).toThrow(
      'eval_freq got 1 without held-out prompts',
    );
  });
});

describe('early_stopping_patience', () => {
  it('says of a resumed run with nothing to do after which step it stopped, and what to raise', async () => {
    const early: AlignPropConfigInput = { num_epochs: 8, eval_freq: 1, early_stopping_patience: 1 };
    await run(early, scripted(2, 1));
    const warnings: string[] = [];
    const logger = { info: () => {}, warn: (text: string) => void warnings.push(text) };
    expect((await run({ ...early, resume_from: out }, { ...scripted(), logger })).steps).toBe(0);
    expect(warnings).toEqual([
      'Nothing to train: the run stopped early after step 1: 1 evaluation without a higher reward than 2.0000 after ' +
        '0 steps. Raise early_stopping_patience (--early-stopping-patience) to train on.',
    ]);
  });

  it('forgets the best evaluation where a resumed run judges by other settings', async () => {
    const sampled: AlignPropConfigInput = { num_epochs: 1, eval_freq: 1 };
    await run(sampled, scripted(5, 4));
    const changed = { ...sampled, num_epochs: 2, eval_seed: 3, resume_from: out };
    const { evaluations } = await run(changed, scripted(1, 2));
    expect(evaluations.map(({ globalStep, bestStep }) => [globalStep, bestStep])).toEqual([
      [1, 1],
      [2, 2],
    ]);
  });

  const config: AlignPropConfigInput = { num_epochs: 8, eval_freq: 1, early_stopping_patience: 2 };

  it('stops when the held-out reward no longer rises, and continues to count after a resume', async () => {
    const straight = await run(config, scripted(1, 3, 2, 3));
    expect(straight.steps).toBe(3);
    expect(straight.evaluations.map(({ isBest }) => isBest)).toEqual([true, true, false, false]);

    await run({ ...config, num_epochs: 2, overwrite_output_dir: true }, scripted(1, 3, 2));
    const resumed = await run({ ...config, resume_from: out }, scripted(3));
    expect(resumed.evaluations).toEqual(straight.evaluations.slice(3));
    expect(resumed.weights).toEqual(straight.weights);
    expect(await readdir(join(out, 'checkpoints'))).toContain('checkpoint_3');
    expect(await fileWeights(join(out, 'best', adapter))).toEqual(
      await fileWeights(join(out, 'checkpoints/checkpoint_1', adapter)),
    );
    expect((await run({ ...config, resume_from: out }, scripted())).steps).toBe(0);
  });
});

describe('kl_weight', () => {
  it('keeps predictions close to those without the adapter', async () => {
    const train = async (kl_weight: number) => {
      const trainer = tinyTrainer({
        pipeline,
        promptFunction: () => 'fox',
        config: { ...oneStepConfig, sample_num_steps: 2, num_epochs: 8, train_learning_rate: 0.002, kl_weight },
      });
      const steps = await collect(trainer);
      trainer.dispose();
      return steps;
    };
    const [unpenalised, weak, strong] = [await train(0), await train(1e-6), await train(100)];
    expect(unpenalised.some((step) => 'kl' in step)).toBe(false);
    expect(weak[0]!.kl).toBeLessThan(1e-9); // B is 0
    expect(weak[7]!.kl).toBeGreaterThan(0);
    expect(strong[7]!.kl).toBeLessThan(0.5 * weak[7]!.kl!);
    for (const { loss, rewardMean, kl } of strong) expect(loss).toBeCloseTo(100 * kl! - rewardMean, 6);
    expect(strong[0]!.rewardMean).toBe(unpenalised[0]!.rewardMean);
  });
});
