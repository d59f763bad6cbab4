import { dispose, scalar, tensor, tensor1d, variable } from '@tensorflow/tfjs-core';
import { trainable, useBackend } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { beforeAll, describe, expect, it } from 'vitest';
import { brightness, collect, oneStepConfig, tinyTrainer } from '../__fixtures__/tiny-run.js';
import { adaptedPipeline } from '../estimators/__fixtures__/nested-graph.js';
import type { AlignPropConfigInput } from '../config/config.js';
import { atSharperWeights } from './sharper-weights.js';

beforeAll(() => useBackend('wasm'));

describe('atSharperWeights', () => {
  it('moves all weights together by the distance along the gradient, and restores every bit', async () => {
    const variables = { a: variable(tensor1d([1, 0.1])), b: variable(tensor1d([5])) };
    const gradients = { a: tensor1d([3, 0]), b: tensor1d([-4]) };
    const here = { gradients, norm: scalar(5) };
    const before = Object.values(variables).map((each) => each.dataSync().slice());
    const moved = await atSharperWeights(variables, here, 0.5, () =>
      Promise.resolve(Object.values(variables).map((each) => [...each.dataSync()])),
    );
    expect(moved[0]![0]).toBeCloseTo(1.3, 6);
    expect(moved[0]![1]).toBeCloseTo(0.1, 6);
    expect(moved[1]![0]).toBeCloseTo(4.6, 6);
    const failure = atSharperWeights(variables, here, 0.5, () => Promise.reject(new Error('no gradient')));
    await expect(failure).rejects.toThrow('no gradient');
    expect(Object.values(variables).map((each) => each.dataSync())).toEqual(before);
    dispose([here.norm, ...Object.values(gradients), ...Object.values(variables)]);
  });

  it('leaves the weights where they are without a gradient', async () => {
    const variables = { a: variable(tensor1d([1, 2])) };
    const here = { gradients: { a: tensor1d([0, 0]) }, norm: scalar(0) };
    const there = await atSharperWeights(variables, here, 0.5, () => Promise.resolve([...variables.a.dataSync()]));
    expect(there).toEqual([1, 2]);
  });
});

describe('weight_perturbation', () => {
  // AdamW with an ε far above the gradients is gradient descent: its step is learning rate / ε · gradient.
  const [epsilon, rate] = [1e4, 1e3];
  const descent = {
    ...oneStepConfig,
    ...{ num_epochs: 1, train_max_grad_norm: 1e9, train_adam_weight_decay: 0, train_batch_size: 2 },
    ...{ train_adam_epsilon: epsilon, train_learning_rate: rate, train_gradient_accumulation_steps: 2 },
  };
  const values = (pipeline: StableDiffusionPipeline) =>
    Object.values(trainable(pipeline.unet.params)).map((each) => each.dataSync().slice() as Float32Array);
  const assign = (pipeline: StableDiffusionPipeline, all: readonly Float32Array[]) =>
    Object.values(trainable(pipeline.unet.params)).forEach((each, i) => each.assign(tensor(all[i]!, each.shape)));
  const minus = (a: readonly Float32Array[], b: readonly Float32Array[]) =>
    a.map((row, i) => row.map((value, j) => value - b[i]![j]!));
  const norm = (a: readonly Float32Array[]) => Math.hypot(...a.map((row) => Math.hypot(...row)));

  /** Takes a step from given weights. @returns minus the move: the gradient times rate / ε; and the metrics */
  async function stepFrom(
    start: readonly Float32Array[],
    pipeline: StableDiffusionPipeline,
    config: AlignPropConfigInput,
  ) {
    assign(pipeline, start);
    const trainer = tinyTrainer({ pipeline, rewardFunction: brightness, config: { ...descent, ...config } });
    const [metrics] = await collect(trainer);
    const moved = minus(start, values(pipeline));
    trainer.dispose();
    return { moved, metrics: metrics! };
  }

  it('follows the gradient at θ + ρ·g / ‖g‖, and reports the rewards at θ', async () => {
    const pipeline = await adaptedPipeline();
    const start = values(pipeline);
    const radius = 0.3;
    const here = await stepFrom(start, pipeline, {});
    const length = norm(here.moved);
    const sharper = start.map((row, i) => row.map((value, j) => value + (radius * here.moved[i]![j]!) / length));
    const there = await stepFrom(sharper, pipeline, {});
    const { moved, metrics } = await stepFrom(start, pipeline, { weight_perturbation: radius });
    expect(norm(minus(moved, there.moved))).toBeLessThan(1e-3 * norm(there.moved));
    expect(norm(minus(here.moved, there.moved))).toBeGreaterThan(0.05 * norm(there.moved));
    expect(metrics.rewardMean).toBe(here.metrics.rewardMean);
    expect(metrics.gradNorm).toBeCloseTo(there.metrics.gradNorm, 4);
  });
});
