import { fill, tensor4d, tidy, tile, zeros } from '@tensorflow/tfjs-core';
import { TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { beforeAll, describe, expect, it } from 'vitest';
import { parseAlignPropConfig, type AlignPropConfigInput } from '../config/config.js';
import { HeldOut } from './held-out.js';

/** Draws two grey images that differ by a number, one number for each evaluation. */
const drawing = (differences: readonly number[]) => {
  const remaining = [...differences];
  const generate = () => {
    const images = tidy(() => tile(tensor4d([0, remaining.shift()!], [2, 1, 1, 1]), [1, 2, 2, 3]));
    return Promise.resolve({ images, latents: zeros([2, 1, 1, 4]) });
  };
  return { generate, engine: new TfjsEngine() } as unknown as StableDiffusionPipeline;
};

/** Evaluates once for each difference and reward; returns the metrics and the last state. */
async function evaluations(
  config: AlignPropConfigInput,
  [differences, rewards]: readonly [readonly number[], readonly number[]],
) {
  const pipeline = drawing(differences);
  const remaining = [...rewards];
  const heldOut = new HeldOut(
    pipeline,
    parseAlignPropConfig({ eval_freq: 1, eval_images_per_prompt: 2, use_lora: false, ...config }),
    1,
    { prompts: ['crab'], rewardFunction: (images) => fill([images.shape[0]], remaining.shift()!) },
  );
  const metrics = [];
  for (const step of differences.keys()) {
    const { metrics: one, state } = await heldOut.run(pipeline, { context: { step, epoch: step } });
    heldOut.restore(JSON.parse(JSON.stringify(state)));
    metrics.push(one);
  }
  return { metrics, heldOut };
}

describe('on_collapse', () => {
  beforeAll(() => useBackend('cpu'));
  const collapsing = [
    [0.4, 0.3, 0.19],
    [1, 2, 9],
  ] as const;

  it('stops a run whose pictures lose half of their diversity, and keeps the best before that', async () => {
    const { metrics, heldOut } = await evaluations({ on_collapse: 'stop' }, collapsing);
    expect(metrics.map(({ hasCollapsed }) => hasCollapsed)).toEqual([false, false, true]);
    expect(metrics.map(({ isBest }) => isBest)).toEqual([true, true, false]);
    expect(heldOut.best).toEqual({ step: 1, rewardMean: 2 });
    expect([heldOut.hasCollapsed, heldOut.isExhausted]).toEqual([true, true]);
    expect(heldOut.describeExhaustion()).toBe('stopped after step 2: its pictures of held-out prompts have collapsed.');
  });

  it('does not take weights as the best that lost three tenths of the diversity', async () => {
    const pale = [
      [0.4, 0.29, 0.27],
      [1, 2, 9],
    ] as const;
    const { metrics, heldOut } = await evaluations({ on_collapse: 'stop' }, pale);
    expect(metrics.map(({ isBest }) => isBest)).toEqual([true, true, false]);
    expect(heldOut.best).toEqual({ step: 1, rewardMean: 2 });
    expect(heldOut.hasCollapsed).toBe(false);
  });

  it('goes on with a warning where that is asked for, and may recover', async () => {
    const { heldOut } = await evaluations({ on_collapse: 'warn' }, collapsing);
    expect([heldOut.hasCollapsed, heldOut.isExhausted]).toEqual([true, false]);
    const recovering = [
      [0.4, 0.1, 0.3],
      [1, 8, 2],
    ] as const;
    const recovered = await evaluations({ on_collapse: 'warn' }, recovering);
    expect(recovered.metrics.map(({ isBest }) => isBest)).toEqual([true, false, true]);
    expect(recovered.heldOut.hasCollapsed).toBe(false);
  });

  it('does nothing by default', async () => {
    const { metrics, heldOut } = await evaluations({}, collapsing);
    expect(metrics.at(-1)).toMatchObject({ isBest: true });
    expect(metrics.some((each) => 'hasCollapsed' in each)).toBe(false);
    expect(heldOut.isExhausted).toBe(false);
  });

  it.each<AlignPropConfigInput>([{ eval_freq: null }, { eval_images_per_prompt: 1 }])('refuses %j', (config) => {
    expect(() =>
      parseAlignPropConfig({ eval_freq: 1, eval_images_per_prompt: 2, on_collapse: 'warn', ...config }),
    ).toThrow("on_collapse: got 'warn', expected 'ignore' without eval_freq and 2 or more eval_images_per_prompt");
  });
});
