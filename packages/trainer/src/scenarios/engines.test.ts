import { fileURLToPath } from 'node:url';
import { mean, mul, square, type Tensor1D } from '@tensorflow/tfjs-core';
import { OnnxRuntimeEngine, TfjsEngine, useBackend, type Engine } from '@alignprop/autograd-ext';
import { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { RewardFunction } from '@alignprop/rewards';
import { beforeAll, describe, expect, it } from 'vitest';
import { collect, tinyTrainer } from '../__fixtures__/tiny-run.js';
import type { AlignPropConfigInput } from '../config/config.js';

/** A trained model: with random weights, rounding errors grow from step to step. */
const model = fileURLToPath(new URL('../../../cli/models/tiny-emoji', import.meta.url));
const config = {
  sample_num_steps: 4,
  truncated_backprop_rand: false,
  truncated_backprop_timestep: 1,
  train_batch_size: 1,
};

/** A smooth reward: those with rounding, such as JPEG's, can change their gradient with a rounding of the image. */
const energy: RewardFunction = (images) => mul(mean(square(images), [1, 2, 3]), 10);

async function run(
  engine: Engine,
  rewardFunction: RewardFunction,
  epochs: number,
  warnings: string[] = [],
  more: AlignPropConfigInput = {},
) {
  const pipeline = await StableDiffusionPipeline.fromPretrained(model, { engine });
  const logger = { info: () => {}, warn: (message: string) => void warnings.push(message) };
  const trainer = tinyTrainer<never>({
    pipeline,
    rewardFunction,
    logger,
    config: { height: null, width: null, ...config, num_epochs: epochs, ...more },
  });
  const metrics = await collect(trainer);
  trainer.dispose();
  engine.dispose();
  return metrics;
}

describe('training on ONNX Runtime', () => {
  /** Ten steps on an engine that keeps activations. */
  let keptRun: ReturnType<typeof run>;
  beforeAll(async () => {
    await useBackend('wasm');
    keptRun = run(new OnnxRuntimeEngine(), energy, 10);
    await keptRun;
  });

  it('takes the same steps as on tfjs, with kept and with recomputed activations', async () => {
    const expected = await run(new TfjsEngine(), energy, 10);
    const kept = await keptRun;
    const recomputed = await run(new OnnxRuntimeEngine({ maxMemory: 0 }), energy, 10);
    for (const actual of [kept, recomputed]) {
      expect(actual).toHaveLength(10);
      actual.forEach(({ rewardMean, loss, gradNorm }, i) => {
        const near = (value: number, wanted: number, tolerance: number) =>
          expect(Math.abs(value - wanted), `step ${i}`).toBeLessThanOrEqual(tolerance * Math.abs(wanted));
        near(rewardMean, expected[i]!.rewardMean, 1e-4);
        near(loss, expected[i]!.loss, 1e-4);
        near(gradNorm, expected[i]!.gradNorm, 1e-3);
      });
    }
  });

  it('takes nearly the same steps with float16 products, and warns where mixed_precision has no effect', async () => {
    const [float32Warnings, float16Warnings]: [string[], string[]] = [[], []];
    const half = { mixed_precision: 'fp16', train_max_grad_norm: 1e9 } as const;
    const expected = await run(new OnnxRuntimeEngine(), energy, 4, float32Warnings, half);
    const actual = await run(new OnnxRuntimeEngine({ precision: 'float16' }), energy, 4, float16Warnings, half);
    expect(float32Warnings).toEqual(["mixed_precision 'fp16' has no effect: this engine computes in float32."]);
    expect(float16Warnings).toEqual([]);
    actual.forEach(({ rewardMean, gradNorm }, i) => {
      expect(Math.abs(rewardMean / expected[i]!.rewardMean - 1), `reward of step ${i}`).toBeLessThan(2e-3);
      expect(Math.abs(gradNorm / expected[i]!.gradNorm - 1), `gradient of step ${i}`).toBeLessThan(3e-2);
    });
    expect(actual[0]!.rewardMean).not.toBe(expected[0]!.rewardMean);
  });

  it('takes the same steps again from the same seed', async () => {
    expect(await run(new OnnxRuntimeEngine(), energy, 2)).toEqual((await keptRun).slice(0, 2));
  });

  it('compiles a reward of images alone, and runs one that reads prompts on tfjs with a single warning', async () => {
    const plain: RewardFunction = (images) => mean(images, [1, 2, 3]) as Tensor1D;
    const reading: RewardFunction = (images, prompts) =>
      mul(mean(images, [1, 2, 3]), prompts[0]!.length > 0 ? 1 : 0) as Tensor1D;
    const warnings: string[] = [];
    const compiled = await run(new OnnxRuntimeEngine(), plain, 2, warnings);
    expect(warnings).toEqual([]);
    const called = await run(new OnnxRuntimeEngine(), reading, 2, warnings);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/The reward runs on tfjs: .*cannot be recorded: it reads prompts, .*defineReward/);
    called.forEach(({ rewardMean }, i) => expect(rewardMean).toBeCloseTo(compiled[i]!.rewardMean, 5));
  });
});
