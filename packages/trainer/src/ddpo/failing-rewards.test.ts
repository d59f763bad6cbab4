// Tests how a run of DDPO goes on when its reward fails.
import type { Tensor4D } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { trainedValues } from '../__fixtures__/tiny-run.js';
import { out, pipeline, tinySuite } from '../__fixtures__/tiny-suite.js';
import type { DDPOConfigInput } from './ddpo-config.js';
import { DDPOTrainer, type DDPOMetrics } from './trainer.js';

tinySuite();

const config: DDPOConfigInput = {
  ...{ height: 16, width: 16, sample_num_steps: 2, sample_guidance_scale: 1, num_epochs: 2 },
  ...{ sample_num_batches_per_epoch: 3, train_learning_rate: 0.01, reward_retries: 0, on_reward_error: 'skip' },
};

/** Trains with a reward that fails in the calls that `failing` names, from 1. */
async function run(more: DDPOConfigInput, failing: readonly number[] = []) {
  const [metrics, warnings, values]: [DDPOMetrics[], string[], number[]] = [[], [], []];
  let calls = 0;
  const trainer = new DDPOTrainer({
    pipeline,
    promptFunction: (generator) => ['cat', 'dog'][generator.randint(0, 2, 1)[0]!]!,
    rewardFunction: async (images: Tensor4D) => {
      if (failing.includes(++calls)) throw new Error('fetch failed');
      return [(await images.data<'float32'>()).reduce((sum, value) => sum + value)];
    },
    logger: { info: () => {}, warn: (text) => void warnings.push(text) },
    config: { ...config, ...more },
  });
  const error = await (async () => {
    for await (const epoch of trainer.train()) metrics.push(epoch);
  })().catch((thrown: unknown) => (thrown as Error).message);
  values.push(...trainedValues(trainer.pipeline));
  trainer.dispose();
  return { metrics, warnings, error, values };
}

describe('a DDPO run whose reward fails', () => {
  it('calls it again for the same images, so that the result is that of a run without failures', async () => {
    const { values, warnings, error } = await run({ num_epochs: 1, reward_retries: 1 }, [2]);
    expect([error, warnings.length]).toEqual([undefined, 1]);
    expect(values).toEqual((await run({ num_epochs: 1 })).values);
  });

  it('trains on the other images with on_reward_error skip, and counts those that are left out', async () => {
    const { metrics, warnings, error } = await run({ train_gradient_accumulation_steps: 3 }, [2, 6]);
    expect(error).toBeUndefined();
    expect(metrics.map(({ failedImages, globalStep }) => [failedImages, globalStep])).toEqual([
      [1, 0],
      [1, 1],
    ]);
    expect(warnings).toEqual([
      'rewardFunction: fetch failed The image is left out of epoch 0.',
      'rewardFunction: fetch failed The image is left out of epoch 1.',
    ]);
    for (const { gradNorm, rewardStd } of metrics) expect([gradNorm > 0, rewardStd > 0]).toEqual([true, true]);
  });

  it('stops where no image is left, with a checkpoint from which the run resumes to the bit', async () => {
    const straight = await run({});
    const { error, metrics } = await run({ output_dir: out, save_freq: 9 }, [4, 5, 6]);
    expect(metrics).toHaveLength(1);
    expect(error).toBe(
      'DDPOTrainer: the reward failed for all 3 images of epoch 1: nothing is left to train on. ' +
        'Mend the reward, and resume the run.',
    );
    expect((await run({ output_dir: out, resume_from: out })).values).toEqual(straight.values);
  });
});
